package main

import (
	"fmt"
	"os/exec"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// runFigure: the wall clock time from the start of the command to its end. The
// program prints one line. Image and bundle are made before.
var runFigure = figure{
	name:    "run",
	what:    "`pith run hello.pith`, whole process, against `runc run` of the plain binary",
	goal:    "at most half its time",
	measure: measureRun,
}

func measureRun(b *bench) ([]line, error) {
	all, err := b.often().alternate(b.contestants("pith", "runc", "runsc", "plain"), b.runHello)
	if err != nil {
		return nil, err
	}
	l := newLine("", "ms", all)
	l.compare("runc", func(r float64) bool { return r <= 0.5 })
	return []line{l}, nil
}

var hello = harness.Program{Package: "./bench/programs/hello"}

// runHello returns how long hello takes from the start of the command to its end,
// in milliseconds.
func (b *bench) runHello(m harness.Monitor) (float64, error) {
	cmd, _, err := b.lab.Command(b.ctx, m, hello)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = saysHelloAndEnds(cmd)
	return time.Since(start).Seconds() * 1000, err
}

// saysHelloAndEnds runs a command and checks its output.
func saysHelloAndEnds(cmd *exec.Cmd) error {
	out, err := cmd.Output()
	if err == nil && string(out) != "hello\n" {
		err = fmt.Errorf("it printed %q", out)
	}
	return err
}
