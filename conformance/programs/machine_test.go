package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

var boots = flag.Int("boots", 10, "how often each kind of machine boots in TestBootsInARow")

// What depends on the machine most, on each kind of it that pith can make.
func TestEveryKindOfMachine(t *testing.T) {
	for _, domain := range []string{"faults", "preemption", "http"} {
		truth := run(t, harness.Plain, domain)
		for _, m := range harness.Selected() {
			for _, kind := range m.Kinds {
				for _, cpus := range []string{"1", "2", "4"} {
					flags := slices.Concat(kind, []string{"--cpus", cpus})
					t.Run(domain+"/"+m.Name+"/"+strings.Join(flags, " "), func(t *testing.T) {
						p := program(domain)
						p.Flags = flags
						i := harness.Start(t, m, p)
						code, err := i.Wait(2 * harness.Timeout)
						if err != nil || code != truth.code {
							t.Errorf("exit code %d, %v; on Linux %d", code, err, truth.code)
						}
						diff(t, i.Stdout(), truth.stdout)
					})
				}
			}
		}
	}
}

// A kernel command line has 4 KiB on q35; execve(2) takes 2 MiB.
func TestLongEnvironment(t *testing.T) {
	for _, size := range []int{6_000, 200_000} {
		p := program("args")
		for i := range size / 1000 {
			p.Env = append(p.Env, fmt.Sprintf("LONG%d=%s", i, strings.Repeat(string(rune('%'+i%80)), 1000)))
		}
		run := func(t *testing.T, m harness.Monitor) ended {
			i := harness.Start(t, m, p)
			code, err := i.Wait(2 * harness.Timeout)
			if err != nil {
				t.Error(err)
			}
			return ended{i.Stdout(), code}
		}
		truth := run(t, harness.Plain)
		for _, m := range harness.Selected() {
			if !m.Image {
				continue
			}
			t.Run(fmt.Sprintf("%d/%s", size, m.Name), func(t *testing.T) {
				got := run(t, m)
				if got.code != truth.code {
					t.Errorf("exit code %d, on Linux %d", got.code, truth.code)
				}
				diff(t, got.stdout, truth.stdout)
			})
		}
	}
}

// None of many boots hangs, or loses what the program says.
func TestBootsInARow(t *testing.T) {
	for _, m := range harness.Selected() {
		if !m.Machine {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			for n := range *boots {
				cpus := n%4 + 1
				i := harness.Start(t, m, harness.Program{
					Package: "../../examples/hello", Flags: []string{"--cpus", fmt.Sprint(cpus)},
				})
				code, err := i.Wait(harness.Timeout)
				if want := fmt.Sprintf(" on %d CPUs\n", cpus); err != nil || code != 0 || !strings.HasSuffix(i.Stdout(), want) || i.Stderr() != "" {
					t.Fatalf("boot %d, %d CPUs: exit code %d, %v, %q, %q", n, cpus, code, err, i.Stdout(), i.Stderr())
				}
			}
		})
	}
}
