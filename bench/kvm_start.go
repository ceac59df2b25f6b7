package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// kvmRunFigure: runFigure in a virtual machine.
var kvmRunFigure = figure{
	name:        "kvm-run",
	what:        "`pith run hello.pith`, whole process, against `runc run` of the plain binary",
	goal:        "at most half its time",
	interpreted: "at most twice its time",
	measure:     measureKVMRun,
}

func measureKVMRun(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants("runc", "plain")
	if err != nil {
		return nil, err
	}
	all, err := b.often().alternate(contestants, b.runHello)
	if err != nil {
		return nil, err
	}
	l := newLine("", "ms", all)
	l.compare("runc", limit{0.5, 2}.atMost)
	return []line{l}, nil
}

// kvmAnswerFigure: from the start of the command to the first answer of the
// net/http hello. A client asks every 2 ms.
var kvmAnswerFigure = figure{
	name:        "kvm-answer",
	what:        "whole process to the first HTTP answer, against `runc run` of the plain binary",
	goal:        "at most 0.7 times",
	interpreted: "at most 3 times",
	measure:     measureKVMAnswer,
}

func measureKVMAnswer(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants("runc", "plain")
	if err != nil {
		return nil, err
	}
	all, err := b.often().alternate(contestants, func(m harness.Monitor) (ms float64, err error) {
		err = b.serveVM(m, netHello, answersHTTP, func(s server) error {
			ms = s.first.Seconds() * 1000
			return nil
		})
		return ms, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "ms", all)
	l.compare("runc", limit{0.7, 3}.atMost)
	return []line{l}, nil
}

// kvmMainFigure: mainFigure in a virtual machine. The thread of the first vCPU is
// traced like all others. The start is where it stands still before the system call
// that runs the guest's first instruction. The end is a time of the guest's clock,
// which the monitor sets by the host's. The monitor is traced while it does so. So
// the guest's clock is ahead by the length of one stop, less than 0.1 ms, which
// counts against the guest.
var kvmMainFigure = figure{
	name:        "kvm-main",
	what:        "guest's entry to main(), against the plain binary's exec to main()",
	goal:        "at most twice",
	interpreted: "at most 15 times",
	measure:     measureKVMMain,
}

func measureKVMMain(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants("plain")
	if err != nil {
		return nil, err
	}
	all, err := b.alternateToMain(contestants)
	if err != nil {
		return nil, err
	}
	l := newLine("", "us", all)
	l.compare("plain", limit{2, 15}.atMost)
	return []line{l}, nil
}

// kvmRun is KVM_RUN of linux/kvm.h.
const kvmRun = 0xae80

// entersGuest reports whether the stopped task is about to run a vCPU.
func entersGuest(pid int, status syscall.WaitStatus) (bool, error) {
	if status.StopSignal() != callStop {
		return false, nil
	}
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
		if errors.Is(err, syscall.ESRCH) { // it was killed meanwhile
			return false, nil
		}
		return false, fmt.Errorf("registers of task %d: %w", pid, err)
	}
	return isCall(&regs, syscall.SYS_IOCTL, kvmRun), nil
}

// kvmRateFigure: how many instances of hello run from start to end in a second. Two
// for each CPU of the host run at a time.
var kvmRateFigure = figure{
	name:        "kvm-rate",
	what:        "instances of hello started a second, against runc",
	goal:        "at least 3 times",
	interpreted: "at least half",
	measure:     measureKVMRate,
}

// rateInstances is the number of instances of a round.
const rateInstances = 64

func measureKVMRate(b *bench) ([]line, error) {
	contestants, err := b.kvmContestants("runc")
	if err != nil {
		return nil, err
	}
	all, err := b.alternate(contestants, func(m harness.Monitor) (float64, error) {
		commands := make(chan *exec.Cmd, rateInstances)
		for range rateInstances {
			cmd, _, err := b.lab.Command(b.ctx, m, hello)
			if err != nil {
				return 0, err
			}
			commands <- cmd
		}
		close(commands)
		start := time.Now()
		err := side(2*runtime.NumCPU(), func() error {
			for cmd := range commands {
				if err := saysHelloAndEnds(cmd); err != nil {
					return err
				}
			}
			return nil
		})
		return rateInstances / time.Since(start).Seconds(), err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "instances/s", all)
	l.compare("runc", limit{3, 0.5}.atLeast)
	return []line{l}, nil
}

// side calls work n times side by side, and returns the errors.
func side(n int, work func() error) error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- work() }()
	}
	var all []error
	for range n {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}
