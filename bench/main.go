// Command bench measures Pith beside what people use today, in one run on one
// machine, alternating between the contestants, and compares medians. With
// -write it writes docs/benchmarks.md; the notes in that table are kept in
// bench/notes.txt.
//
//	go run ./bench [-run REGEXP] [-rounds N] [-instances N] [-write]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"

	"github.com/pith-os/pith/conformance/harness"
)

func main() {
	only := flag.String("run", "", "measure only figures whose name matches this regular expression")
	rounds := flag.Int("rounds", 5, "how often each contestant is measured")
	write := flag.Bool("write", false, "write docs/benchmarks.md (all figures)")
	instances := flag.Int("instances", 1000, "how many instances are idle side by side")
	flag.Parse()
	if err := run(*only, *rounds, *instances, *write); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only string, rounds, instances int, write bool) (err error) {
	selected, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	if write && only != "" {
		return fmt.Errorf("-write needs all figures; leave out -run")
	}
	if rounds < 1 || instances < 1 {
		return fmt.Errorf("-rounds %d -instances %d: at least 1", rounds, instances)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	lab, err := harness.NewLab()
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := lab.Close(); err == nil {
			err = closeErr
		}
	}()

	b := &bench{ctx: ctx, lab: lab, rounds: rounds, instances: instances}
	var results []result
	for _, f := range figures {
		if !selected.MatchString(f.name) {
			continue
		}
		fmt.Printf("%s: %s\n", f.name, f.what)
		lines, err := f.measure(b)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r := result{f, lines, err}
		r.print(os.Stdout)
		results = append(results, r)
	}
	if write {
		return writeReport(ctx, results, rounds)
	}
	return nil
}

// bench is what the figures share.
type bench struct {
	ctx       context.Context
	lab       *harness.Lab
	rounds    int
	instances int // of kvmManyFigure
}

// often is the bench for what takes a short time: with more rounds.
func (b *bench) often() *bench {
	more := *b
	more.rounds *= 4
	return &more
}

// contestants are the monitors that are installed, of those named.
func (b *bench) contestants(names ...string) []harness.Monitor {
	var list []harness.Monitor
	for _, name := range names {
		switch name {
		case "plain", "process", "kvm":
			for _, m := range harness.Monitors {
				if m.Name == name {
					list = append(list, m)
				}
			}
		case "pith":
			for _, m := range harness.Monitors {
				if m.Image && !m.Machine {
					list = append(list, m)
				}
			}
		default:
			if _, err := exec.LookPath(name); err == nil {
				list = append(list, harness.Container(name))
			}
		}
	}
	return list
}
