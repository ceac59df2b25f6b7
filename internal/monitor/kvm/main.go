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

// Main becomes the VMM if this process was started as one. Otherwise it returns at
// once. It must be among the first calls of main.
func Main() {
	if os.Args[0] != vmmName {
		return
	}
	code, err := serve()
	if err != nil {
		// If the monitor is gone, nobody reads this.
		_ = jail.SendReport(statusFD, jail.Report{Error: err.Error()})
		code = boot.ExitFailure
	}
	os.Exit(code)
}

// serve runs the VM that the monitor asks for.
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
			// Older kernels have no counters.
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

// logTo tells the user what goes wrong with a device.
func logTo(f *os.File) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(f, "pith: "+format+"\n", args...) }
}
