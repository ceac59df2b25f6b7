package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// program is the domain as the harness starts it.
func program(domain string) harness.Program {
	return harness.Program{
		Package: ".",
		Args:    []string{domain, "two words", "", "--flag=value", `"quoted" $HOME ${port`},
		Env:     []string{"GREETING=hällo, wörld", "EMPTY="},
		Stdin:   "a line\nthe last one, without its end",
	}
}

// ended is what a program came to.
type ended struct {
	stdout string
	code   int
}

func run(t *testing.T, m harness.Monitor, domain string) ended {
	t.Helper()
	i := harness.Start(t, m, program(domain))
	code, err := i.Wait(2 * harness.Timeout)
	if err != nil {
		t.Errorf("%s on %s: %v", domain, m.Name, err)
	}
	return ended{i.Stdout(), code}
}

func TestSameAsOnLinux(t *testing.T) {
	for _, d := range domains {
		if d.name == "exec" || d.name == "asleep" {
			continue // TestOneProgram, TestSleepersAreNotDeadlocked
		}
		t.Run(d.name, func(t *testing.T) {
			truth := run(t, harness.Plain, d.name)
			if strings.Contains(truth.stdout, "unexpected error") {
				t.Fatalf("on Linux itself: %s", truth.stdout)
			}
			for _, m := range harness.Selected() {
				if !m.Image {
					continue
				}
				t.Run(m.Name, func(t *testing.T) {
					got := run(t, m, d.name)
					if got.code != truth.code {
						t.Errorf("exit code %d, on Linux %d", got.code, truth.code)
					}
					diff(t, got.stdout, truth.stdout)
				})
			}
		})
	}
}

// diff reports the lines in which got is not the truth.
func diff(t *testing.T, got, truth string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(truth, "\n")
	for n := range max(len(g), len(w)) {
		var have, want string
		if n < len(g) {
			have = g[n]
		}
		if n < len(w) {
			want = w[n]
		}
		if have != want {
			t.Errorf("line %d\n got %s\nwant %s", n+1, have, want)
		}
	}
}

func TestSleepersAreNotDeadlocked(t *testing.T) {
	harness.Each(t, program("asleep"), func(t *testing.T, i *harness.Instance) {
		err := i.Await(harness.Timeout, func() error {
			if i.Stdout() == "" {
				return errors.New("it has not begun")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if code, err := i.Wait(time.Second); err == nil {
			t.Fatalf("it ended with code %d: %s", code, i.Stderr())
		}
		if code, err := i.Stop(syscall.SIGTERM, harness.Timeout); err != nil || code != 128+int(syscall.SIGTERM) {
			t.Errorf("exit code %d, error %v", code, err)
		}
	})
}

func TestOneProgram(t *testing.T) {
	for _, m := range harness.Selected() {
		if !m.Image {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			got := run(t, m, "exec")
			if got.code != 0 {
				t.Errorf("exit code %d", got.code)
			}
			for line := range strings.Lines(got.stdout) {
				if strings.Contains(line, "<nil>") {
					t.Errorf("started another program: %s", line)
				}
			}
			if !strings.Contains(got.stdout, "one program") {
				t.Errorf("the error does not say that a unikernel runs one program:\n%s", got.stdout)
			}
		})
	}
}
