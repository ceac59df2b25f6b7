package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// kvmWorkFigure: a program that computes SHA-256 on one CPU. It prints a line when
// it begins and one when it is done. The host's clock takes the time between.
var kvmWorkFigure = figure{
	name:        "kvm-work",
	what:        "SHA-256 on one CPU, against the plain binary",
	goal:        "at least 0.98 of its speed",
	interpreted: "at least 0.95 of its speed",
	measure:     measureKVMWork,
}

const workMB = 3000

func measureKVMWork(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants("plain")
	if err != nil {
		return nil, err
	}
	program := harness.Program{Package: "./bench/programs/digest", Args: []string{fmt.Sprint(workMB)}, Env: []string{"GOMAXPROCS=1"}}
	all, err := b.alternate(contestants, func(m harness.Monitor) (float64, error) {
		p := program
		if m.Image {
			p.Flags = []string{"--cpus", "1"}
		}
		cmd, _, err := b.lab.Command(b.ctx, m, p)
		if err != nil {
			return 0, err
		}
		took, err := betweenLines(cmd)
		return workMB / took.Seconds(), err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "MB/s", all)
	l.compare("plain", limit{0.98, 0.95}.atLeast)
	return []line{l}, nil
}

// betweenLines runs a command and returns how long it takes from its first line
// to its second.
func betweenLines(cmd *exec.Cmd) (took time.Duration, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	text := bufio.NewReader(out)
	_, err = text.ReadString('\n')
	start := time.Now()
	if err == nil {
		_, err = text.ReadString('\n')
		took = time.Since(start)
	}
	_, copyErr := io.Copy(io.Discard, text)
	return took, errors.Join(err, copyErr, cmd.Wait())
}

// kvmHTTPFigure: httpFigure in a virtual machine.
var kvmHTTPFigure = figure{
	name:        "kvm-http",
	what:        "net/http hello, `wrk -t1 -c30`, against the plain binary and the confined process",
	goal:        "at least 0.8 of plain; at least 1.2 of the process",
	interpreted: "at least 0.4 of plain; at least 0.8 of the process",
	measure:     measureKVMHTTP,
}

func measureKVMHTTP(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants("plain", "process")
	if err != nil {
		return nil, err
	}
	all, err := b.alternateRequests(contestants)
	if err != nil {
		return nil, err
	}
	l := newLine("", "requests/s", all)
	l.compareOne(kvmMonitor, "plain", limit{0.8, 0.4}.atLeast)
	l.compareOne(kvmMonitor, "process", limit{1.2, 0.8}.atLeast)
	return []line{l}, nil
}
