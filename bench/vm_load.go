package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// requestsFigure: httpFigure in a virtual machine. The network card of both guests
// is a vhost-user card on the same user-mode gateway.
var requestsFigure = figure{
	name:    "vm-http",
	what:    "net/http hello, `wrk -t1 -c30`, against the Linux guest",
	goal:    "at least 1.7 times",
	measure: measureRequests,
}

func measureRequests(b *bench) ([]line, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return nil, fmt.Errorf("wrk is not installed: %w", err)
	}
	all, err := b.alternate(b.vmContestants(), func(m harness.Monitor) (rate float64, err error) {
		err = b.serveVM(m, onMachine("nethello"), answersHTTP, func(s server) error {
			if _, err := b.wrk(s.addr, 2*time.Second); err != nil {
				return err
			}
			rate, err = b.wrk(s.addr, 4*time.Second)
			return err
		})
		return rate, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "requests/s", all)
	l.compare(linux.Name, func(r float64) bool { return r >= 1.7 })
	return []line{l}, nil
}

// vmBulkFigure: bulkFigure in a virtual machine, on the same network.
var vmBulkFigure = figure{
	name:    "vm-bulk",
	what:    "bulk TCP, host to program and back, against the Linux guest",
	goal:    "at least 1.5 times",
	measure: measureVMBulk,
}

func measureVMBulk(b *bench) ([]line, error) {
	const size = 128 << 20
	all, err := b.alternate(b.vmContestants(), func(m harness.Monitor) (rate float64, err error) {
		err = b.serveVM(m, onMachine("echo"), answersEcho, func(s server) error {
			if _, err := exchange(s.addr, warmBytes); err != nil {
				return err
			}
			took, err := exchange(s.addr, size)
			rate = size / 1e6 / took.Seconds()
			return err
		})
		return rate, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "MB/s each way", all)
	l.compare(linux.Name, func(r float64) bool { return r >= 1.5 })
	return []line{l}, nil
}

// idleFigure: the CPU time that a server takes when nobody asks it anything. For an
// image it is the time of QEMU and of pith with the gateway. For the Linux guest it
// is the time of QEMU alone.
var idleFigure = figure{
	name:    "vm-idle",
	what:    "net/http hello idle for 10 s, monitor included",
	goal:    "under 2% of a CPU",
	measure: measureIdle,
}

const idleLimit = 2 // percent

func measureIdle(b *bench) ([]line, error) {
	all, err := b.alternate(b.vmContestants(), func(m harness.Monitor) (percent float64, err error) {
		err = b.serveVM(m, onMachine("nethello"), answersHTTP, func(s server) error {
			const settle, watch = 3 * time.Second, 10 * time.Second
			time.Sleep(settle)
			before, err := treeTime(s.pid)
			if err != nil {
				return err
			}
			time.Sleep(watch)
			after, err := treeTime(s.pid)
			percent = 100 * (after - before).Seconds() / watch.Seconds()
			return err
		})
		return percent, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "%", all)
	for _, m := range harness.Monitors {
		if v, ok := l.of(m.Name); ok {
			l.Ratios = append(l.Ratios, ratio{digits(v) + "%", v < idleLimit})
		}
	}
	return []line{l}, nil
}

// treeTime returns the CPU time of a process and its descendants so far.
func treeTime(root int) (time.Duration, error) {
	tree, err := descendants(root)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range tree {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// utime and stime are the 12th and 13th fields after the name, in
		// hundredths of a second (proc_pid_stat(5)).
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, w := range fields[11:13] {
			n, err := strconv.Atoi(w)
			if err != nil {
				return 0, fmt.Errorf("/proc/%d/stat is %q", pid, stat)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum, nil
}
