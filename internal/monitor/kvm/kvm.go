// Package kvm is Pith's own monitor of virtual machines, on Linux's KVM. A VM has vCPUs,
// memory and virtio devices, and no legacy hardware. It has no firmware and no PCI, and the
// vCPUs' local APICs are its only interrupt controllers.
//
// This process starts the VMM. The VMM is the same program again in a jail, and gets
// descriptors for everything that it uses. This process does the work that needs more rights
// than the VMM has: the network, folders of the host, signals. The VMM (vmm.go) makes the VM
// with internal/kvm and the devices of internal/device, and runs it. Package instance calls
// this package as an [instance.Monitor].
package kvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/device/vsock"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/kvm/probe"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/folders"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/internal/monitor/jail"

	"golang.org/x/sys/unix"
)

// Monitor is the KVM monitor.
type Monitor struct{}

var _ instance.Monitor = Monitor{}

// otherDevices is the number of a VM's devices without folders and disks: console, entropy,
// balloon, network card and vsock.
const otherDevices = 5

// description is the KVM monitor as data.
var description = instance.Description{
	Name: "kvm", VM: true,
	Can:   []instance.Part{instance.Disks, instance.Vsock, instance.TAP, instance.HugePages},
	Needs: []instance.Requirement{{What: "/dev/kvm"}},
	Without: "pith run starts processes instead, and virtual machines need QEMU, " +
		"which translates their code (TCG): much slower",
	MinMemory:  guest.MinMemory,
	MaxDevices: maxDevices - otherDevices,
}

// Describe implements [instance.Monitor].
func (Monitor) Describe() *instance.Description { return &description }

// Ready implements [instance.Monitor].
func (Monitor) Ready(ctx context.Context) (string, error) { return text(probe.Known(ctx)) }

// Probe implements [instance.Monitor].
func (Monitor) Probe(ctx context.Context) (string, error) { return text(probe.Renew(ctx)) }

func text(found probe.Found, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return found.String(), nil
}

// Start implements [instance.Monitor]. It returns when the VM runs.
func (Monitor) Start(ctx context.Context, l *instance.Launch) (instance.Running, error) {
	runtime.GOMAXPROCS(share())
	r, err := start(ctx, l)
	if err != nil {
		probe.Forget() // KVM may have stopped working
		return nil, err
	}
	return r, nil
}

// share returns the value of GOMAXPROCS for this process and for the VMM. The rest of the
// host's CPUs is for the vCPUs. On a small host, a larger value would gain nothing.
func share() int { return max(1, runtime.NumCPU()/2) }

// running is this process's state of a running VM. It implements [instance.Running].
type running struct {
	launch  *instance.Launch
	process *jail.Process
	how     string
	status  *os.File
	answers *json.Decoder
	failure chan error // receives once: the failure that the VMM reports, or nil
	control guest.Control
	link    link.Link         // the network card's link; nil: no card, or the kernel moves its packets
	front   *vhostuser.Server // the card's back end, which the VMM connects to, or nil
	folders []*folders.Server
	broker  *vsock.Broker // of the vsock device, or nil
}

func (r *running) How() string                 { return r.how }
func (r *running) Processes() []int            { return []int{r.process.PID} }
func (r *running) Ended() <-chan struct{}      { return r.process.Ended }
func (r *running) Accepts() bool               { return false }
func (r *running) Link() link.Link             { return r.link }
func (r *running) Receive(handle func(string)) { r.control.Receive(handle) }
func (r *running) Acknowledge(message string)  { r.control.Send(message) }
func (r *running) Signal(sig unix.Signal)      { r.control.Signal(sig, r.process.Signal) }

// Tasks implements [instance.Running].
func (r *running) Tasks() []func(context.Context) error {
	tasks := []func(context.Context) error{
		r.control.Serve,
		func(context.Context) error { r.failure <- r.lastReport(); return nil },
	}
	for _, f := range r.folders {
		tasks = append(tasks, func(context.Context) error { return f.Serve() })
	}
	if r.broker != nil {
		tasks = append(tasks, func(context.Context) error { return r.broker.Serve() })
	}
	return tasks
}

// lastReport waits for the VMM's end and returns the failure that it reports, or nil.
func (r *running) lastReport() error {
	defer r.status.Close()
	var report jail.Report
	err := r.answers.Decode(&report)
	if err == nil && report.Error != "" {
		return errors.New(report.Error)
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("the virtual machine monitor: %w", err)
	}
	return nil
}

// Unplug implements [instance.Running]. The VMM loses the connection to the card's back end.
// It then sets DEVICE_NEEDS_RESET for the guest.
func (r *running) Unplug() error {
	if r.front == nil {
		return nil
	}
	return r.front.Close()
}

// Stop implements [instance.Running].
func (r *running) Stop() error {
	for _, f := range r.folders {
		f.Stop()
	}
	if r.broker != nil {
		return errors.Join(r.Unplug(), r.broker.Close())
	}
	return r.Unplug()
}

// Result implements [instance.Running].
func (r *running) Result() (int, error) {
	for _, f := range r.folders {
		f.Close()
	}
	status, err := r.process.Reap()
	if err := errors.Join(err, <-r.failure); err != nil {
		return 0, err
	}
	if status.Signaled() && status.Signal() == unix.SIGSYS {
		r.launch.Warn("killed: the virtual machine monitor made a system call that its jail forbids: please report this")
	}
	return instance.ExitCode(status), nil
}

// abandon releases everything that start has made for an instance that does not run.
func (r *running) abandon() (err error) {
	if r.process != nil {
		err = r.process.Kill()
	}
	for _, f := range []*os.File{r.status, r.control.Port} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if r.link != nil {
		err = errors.Join(err, r.link.Close())
	}
	for _, f := range r.folders {
		f.Close()
	}
	if r.broker != nil {
		err = errors.Join(err, r.broker.Close())
	}
	return errors.Join(err, r.Unplug())
}

// null is the file in place of standard streams that the program does not have.
var null = sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) })
