package main

import (
	"fmt"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// runFigure: from the start of the command to its end, by the wall clock, for
// a program that says hello. Image and bundle are made before.
var runFigure = figure{
	name:    "run",
	what:    "`pith run hello.pith`, whole process, against `runc run` of the plain binary",
	reach:   "at most half its time",
	measure: measureRun,
}

func measureRun(b *bench) ([]line, error) {
	program := harness.Program{Package: "./bench/programs/hello"}
	long := &bench{ctx: b.ctx, lab: b.lab, rounds: 4 * b.rounds} // each is short
	all, err := long.alternate(b.contestants("pith", "runc", "runsc", "plain"), func(m harness.Monitor) (float64, error) {
		cmd, _, err := b.lab.Command(b.ctx, m, program)
		if err != nil {
			return 0, err
		}
		start := time.Now()
		out, err := cmd.Output()
		took := time.Since(start)
		if err == nil && string(out) != "hello\n" {
			err = fmt.Errorf("it printed %q", out)
		}
		return took.Seconds() * 1000, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "ms", all)
	l.compare("runc", func(r float64) bool { return r <= 0.5 })
	return []line{l}, nil
}
