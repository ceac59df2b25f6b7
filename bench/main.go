// Command bench measures Pith beside what people use today. It measures all
// contestants in one run on one host, by turns, and compares medians.
//
//	go run ./bench [-run REGEXP] [-rounds N] [-instances N] [-write]
//	go run ./bench -page
//
// With -write it writes the numbers to docs/benchmarks.json, and makes
// docs/benchmarks.md of them and of the notes in bench/notes.md. With -page it
// measures nothing, and makes docs/benchmarks.md again after a change of the
// notes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

func main() {
	only := flag.String("run", "", "measure only figures whose name matches `REGEXP`")
	rounds := flag.Int("rounds", 5, "measure each contestant `N` times or more")
	write := flag.Bool("write", false, "write docs/benchmarks.json and docs/benchmarks.md; needs all figures")
	page := flag.Bool("page", false, "measure nothing; make docs/benchmarks.md of docs/benchmarks.json and bench/notes.md")
	instances := flag.Int("instances", 1000, "let `N` instances be idle side by side")
	flag.Parse()
	err := error(nil)
	if *page {
		err = writePage()
	} else {
		err = run(*only, *rounds, *instances, *write)
	}
	if err != nil {
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
		return errors.New("-write needs all figures: leave out -run")
	}
	if rounds < 1 || instances < 1 {
		return fmt.Errorf("-rounds %d -instances %d: each must be at least 1", rounds, instances)
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
	for _, g := range groups {
		for _, f := range g.figures {
			if !selected.MatchString(f.name) {
				continue
			}
			fmt.Printf("%s: %s\n", f.name, f.what)
			lines, err := f.measure(b)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r := result{Name: f.name, What: f.what, Goal: f.goalHere(), Lines: lines}
			if err != nil {
				r.Error = err.Error()
			}
			r.print(os.Stdout)
			r.Error, _, _ = strings.Cut(r.Error, "\n")
			results = append(results, r)
		}
	}
	if !write {
		return nil
	}
	all := &record{Date: time.Now().UTC().Format(time.DateOnly), Rounds: rounds, Host: hostFacts(ctx), Figures: results}
	if err := all.write(); err != nil {
		return err
	}
	return writePage()
}

// bench holds what the figures share.
type bench struct {
	ctx       context.Context
	lab       *harness.Lab
	rounds    int
	instances int // how many kvmManyFigure starts
}

// often returns a bench with more rounds, for what takes a short time.
func (b *bench) often() *bench {
	more := *b
	more.rounds *= 4
	return &more
}

// contestants returns those of the named monitors that are installed.
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
		case harness.HostNetwork.Name:
			list = append(list, harness.HostNetwork)
		case harness.HostNetworkChecked.Name:
			list = append(list, harness.HostNetworkChecked)
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
