package kvm

import (
	"fmt"
	"os"
	"time"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/kvm/confine"
	"github.com/pith-os/pith/libos/boot"
)

// vmmName is argument 0 of a process that becomes the VMM.
const vmmName = "pith-vmm"

func now() int64 { return time.Now().UnixNano() }

// Main runs as the VMM if this process was started as one. Otherwise it returns at once.
// main must call it early.
func Main() {
	if os.Args[0] != vmmName {
		return
	}
	code, err := serve()
	if err != nil {
		// This fails only if the monitor has ended.
		_ = jail.SendReport(statusFD, jail.Report{Error: err.Error()})
		code = boot.ExitFailure
	}
	os.Exit(code)
}

// serve runs the VM that the monitor requests.
func serve() (exit int, err error) {
	var req request
	if err := jail.Receive(statusFD, &req); err != nil {
		return 0, err
	}
	v, err := build(&req, logTo(os.Stderr))
	if err != nil {
		return 0, err
	}
	if err := jail.SendReport(statusFD, jail.Report{}); err != nil {
		return 0, fmt.Errorf("report to the monitor: %w", err)
	}
	var counted []*kvm.Stats
	if req.Verbose {
		for _, c := range v.cpus {
			// Kernels before Linux 5.14 have no counters.
			if s, err := c.Stats(); err == nil {
				counted = append(counted, s)
			}
		}
	}
	confined, err := confine.Confine(v.fds)
	if err != nil {
		return 0, err
	}
	exit, err = v.run(func(c *kvm.VCPU) error { return confined.VCPU(c.FD()) })
	v.console.Drain()
	for i, s := range counted {
		text, err := s.Read()
		if err != nil {
			text = err.Error()
		}
		v.log("vCPU %d: %s", i, text)
	}
	return exit, err
}

// logTo returns a function that writes a device's errors to f, for the user.
func logTo(f *os.File) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(f, "pith: "+format+"\n", args...) }
}
