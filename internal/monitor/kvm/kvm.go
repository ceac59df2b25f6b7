// Package kvm is Pith's own monitor of virtual machines, on Linux's KVM. A
// machine has CPUs, memory and virtio devices, and nothing of a computer's
// history: no firmware, no PCI, no interrupt controller but the CPUs' own.
//
// This process starts the VMM, itself again in a jail, with descriptors for all
// that it uses, and serves what takes more than it has there: the network, folders
// of the host, signals. The VMM (vmm.go) makes the machine of package kvm's
// parts and of devices (internal/device), and runs it. `pith run` calls it
// through [monitor.Monitor].
package kvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/pith-os/pith/internal/kvm/probe"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/guest"

	"golang.org/x/sys/unix"
)

// Monitor is the KVM monitor.
type Monitor struct{}

var _ monitor.Monitor = Monitor{}

// Name implements [monitor.Monitor].
func (Monitor) Name() string { return "kvm" }

// Can implements [monitor.Monitor].
func (Monitor) Can(n monitor.Need) bool {
	switch n {
	case monitor.NeedDisks, monitor.NeedVsock, monitor.NeedTap, monitor.NeedHugePages:
		return true
	}
	return false
}

// Run implements [monitor.Monitor].
func (Monitor) Run(ctx context.Context, c *monitor.Config) (int, error) {
	if (c.Network != nil) != (c.Boot.Net != nil) || c.Network == nil && len(c.Publish) > 0 {
		return 0, errors.New("a network device, its boot parameters and published ports go together")
	}
	log := c.Log
	if log == nil {
		log = func(string, ...any) {}
	}
	runtime.GOMAXPROCS(share())
	listeners, err := monitor.Bind(c.Publish)
	if err != nil {
		return 0, err
	}
	defer monitor.CloseListeners(listeners)
	signals := monitor.CatchSignals()
	defer signals.Stop()
	i, err := start(ctx, c)
	if err != nil {
		probe.Forget() // it may not be so any more
		return 0, err
	}
	log("virtual machine: %s", i.how)
	return i.supervise(ctx, c, listeners, signals, log)
}

// supervise serves a running machine until it ends.
func (i *instance) supervise(ctx context.Context, c *monitor.Config, listeners []*monitor.Listener,
	signals *monitor.Signals, log func(string, ...any)) (int, error) {
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // the first is enough
		}
	}
	ports := guest.Published{Network: c.Network}
	var tasks sync.WaitGroup
	tasks.Go(func() { i.control.Serve(serving) })
	tasks.Go(func() {
		i.control.Hear(func(message string) {
			if err := ports.Obey(message, listeners, &i.control, log); err != nil {
				fail(err)
			}
		})
	})
	if i.link != nil {
		tasks.Go(func() {
			if err := c.Network.Serve(serving, i.link); err != nil && serving.Err() == nil {
				// The program finds its device gone, and may do without.
				err = errors.Join(err, i.unplug())
				if c.Stderr != nil {
					fmt.Fprintf(c.Stderr, "pith: the network ended: %v\n", err)
				}
			}
		})
	}
	for _, f := range i.folders {
		tasks.Go(func() {
			if err := f.Serve(); err != nil {
				fail(err)
			}
		})
	}
	if i.broker != nil {
		tasks.Go(func() {
			if err := i.broker.Serve(); err != nil {
				fail(err)
			}
		})
	}
	told := make(chan error, 1)
	tasks.Go(func() { told <- i.last() })

	var failure error
	done := ctx.Done()
	for running := true; running; {
		select {
		case err := <-i.process.Ended:
			failure = errors.Join(failure, err)
			running = false
		case sig := <-signals.C:
			signals.Relay(sig, i.signal)
		case err := <-failed:
			failure = errors.Join(failure, err)
			i.signal(unix.SIGKILL)
		case <-done:
			done = nil
			i.signal(unix.SIGKILL)
		}
	}
	status, err := i.process.Reap()
	cancel()
	err = errors.Join(failure, err, i.unplug())
	for _, f := range i.folders {
		f.Stop()
	}
	if i.broker != nil {
		err = errors.Join(err, i.broker.Close())
	}
	tasks.Wait()
	for _, f := range i.folders {
		f.Close()
	}
	ports.Close()
	if err = errors.Join(err, <-told); err != nil {
		return 0, err
	}
	if status.Signaled() {
		if status.Signal() == unix.SIGSYS && c.Stderr != nil {
			fmt.Fprintln(c.Stderr, "pith: killed: the virtual machine monitor made a system call that its jail forbids, please report this")
		}
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// share is how many of the host's CPUs this process and the VMM each run Go code
// on: the guest's CPUs are to have theirs. On a small host more only take turns.
func share() int { return max(1, runtime.NumCPU()/2) }

// null is where streams go that the program has not.
var null = sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) })
