package main

import (
	"fmt"
	"time"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/monitor/qemu"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"
)

// answerFigure: from the start of the command to the first answer of the net/http
// hello. The command is pith run with the image, or QEMU with Linux. The floor is
// QEMU's start to its end, on the same virtual machine, with an image of four
// instructions.
var answerFigure = figure{
	name:    "vm-answer",
	what:    "whole process to the first HTTP answer, against the Linux guest and QEMU's own floor, an image that ends at once",
	goal:    "at least 4 times faster; at most 1.7 times the floor",
	measure: measureAnswer,
}

// floor is the contestant whose image ends at once.
var floor = harness.Monitor{Name: "floor"}

func measureAnswer(b *bench) ([]line, error) {
	program := onMachine("nethello")
	all, err := b.alternate(append(b.vmContestants(), floor), func(m harness.Monitor) (float64, error) {
		var took time.Duration
		var err error
		if m.Name == floor.Name {
			took, err = b.endsAtOnce()
		} else {
			err = b.serveVM(m, program, answersHTTP, func(s server) error {
				took = s.first
				return nil
			})
		}
		return took.Seconds() * 1000, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "ms", all)
	l.compare(linux.Name, func(r float64) bool { return r <= 1.0/4 })
	l.compare(floor.Name, func(r float64) bool { return r <= 1.7 })
	return []line{l}, nil
}

// endsAtOnce returns how long QEMU runs an image that ends the virtual machine.
func (b *bench) endsAtOnce() (time.Duration, error) {
	var image tinyelf.Machine
	image.Out(boot.DebugExit, "\x00")
	image.Halt()
	v, err := b.start(&guest{
		kernel: image.Bytes(), line: func(*boot.Net) string { return "" }, memory: guestMemory,
		args: []string{"-device", fmt.Sprintf("isa-debug-exit,iobase=%#x,iosize=4", boot.DebugExit)},
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-v.ended:
	case <-time.After(startTimeout):
		err = fmt.Errorf("%s does not end", qemu.Program)
	}
	took := time.Since(v.began)
	if endErr := v.end(); err == nil {
		err = endErr
	}
	return took, err
}
