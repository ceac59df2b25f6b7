package main

import (
	"fmt"

	"github.com/pith-os/pith/conformance/harness"
)

// readFigure: the cost of a system call that does almost nothing. The program
// itself takes the time of many reads. Both contestants run the same program.
var readFigure = figure{
	name:    "read",
	what:    "64-byte read of /dev/zero, against the same program on Linux",
	goal:    "at least 15 times faster",
	measure: measureRead,
}

func measureRead(b *bench) ([]line, error) {
	program := harness.Program{Package: "./bench/programs/read"}
	contestants := b.contestants("pith", "plain")
	var direct []samples
	for _, c := range contestants {
		direct = append(direct, samples{who: c.Name})
	}
	byFile, err := b.alternate(contestants, func(m harness.Monitor) (float64, error) {
		out, err := b.output(m, program)
		if err != nil {
			return 0, err
		}
		var file, call float64
		if _, err := fmt.Sscan(out, &file, &call); err != nil {
			return 0, fmt.Errorf("%q: %w", out, err)
		}
		for n := range direct {
			if direct[n].who == m.Name {
				direct[n].values = append(direct[n].values, call)
			}
		}
		return file, nil
	})
	if err != nil {
		return nil, err
	}
	lines := []line{newLine("os.File.Read", "ns", byFile), newLine("syscall.Read", "ns", direct)}
	for n := range lines {
		lines[n].compare("plain", func(r float64) bool { return r <= 1.0/15 })
	}
	return lines, nil
}

// output runs a program to its end and returns its standard output.
func (b *bench) output(m harness.Monitor, p harness.Program) (string, error) {
	cmd, _, err := b.lab.Command(b.ctx, m, p)
	if err != nil {
		return "", err
	}
	out, err := cmd.Output()
	return string(out), err
}
