// Package qemu is the monitor that runs an image as a virtual machine of QEMU. It uses KVM if
// KVM runs code on this host, and otherwise translation (TCG).
//
// QEMU is a child of this process and inherits descriptors. One is the image. The others are
// sockets to this process: for each of the program's standard streams, for the control channel
// and for packets. QEMU opens no terminal and no listening socket. command.go has the VM's
// devices, and libos/boot has the messages on its ports. Package instance calls this package
// as an [instance.Monitor].
package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Monitor is the QEMU monitor.
type Monitor struct{}

var _ instance.Monitor = Monitor{}

// description is the QEMU monitor as data.
var description = instance.Description{
	Name: "qemu", VM: true,
	Can: []instance.Part{
		instance.Disks, instance.TAP, instance.HugePages,
		instance.MachineType, instance.Accelerator, instance.CPUModel, instance.Debugger,
	},
	Needs:        []instance.Requirement{{What: Program, Install: install}},
	Without:      "images do not run as PCs, with PCI or a debugger; pith run does without",
	MinMemory:    guest.MinMemory,
	MachineTypes: []string{Microvm, Q35},
	Accelerators: []string{KVM, TCG},
	CPUModels:    []string{"max", "qemu64"},
}

// Describe implements [instance.Monitor].
func (Monitor) Describe() *instance.Description { return &description }

// Ready implements [instance.Monitor].
func (Monitor) Ready(context.Context) (string, error) {
	_, err := find()
	return "", err
}

// Start implements [instance.Monitor]. It returns when QEMU runs.
func (Monitor) Start(ctx context.Context, l *instance.Launch) (instance.Running, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	if l.HugePages {
		if err := guest.CheckHugePages(l.Memory); err != nil {
			return nil, err
		}
	}
	how, err := chooseAccel(ctx, l.Machine.Accelerator)
	if err != nil {
		return nil, err
	}
	copyStreams()
	vm, err := start(program, how.accel, l)
	if err != nil {
		return nil, err
	}
	vm.how = how.String()
	if l.Machine.Debugger != "" {
		l.Warn("the program waits for a debugger: gdb -ex 'target remote %s' -ex 'hbreak main.main' -ex continue %s",
			l.Machine.Debugger, symbols(l.Image))
	}
	return vm, nil
}

// copyStreams prepares this process for copying the program's standard streams. If the reader
// of an output has closed it, the program gets the error, and SIGPIPE must not kill this
// process. In the background, SIGTTIN must not stop it when it reads the terminal.
var copyStreams = sync.OnceFunc(func() {
	signal.Ignore(unix.SIGTTIN)
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
})

// symbols returns a path at which a debugger finds the image while it runs. An image that pith
// has built from a package has no name any more.
func symbols(image *os.File) string {
	open, err1 := image.Stat()
	named, err2 := os.Stat(image.Name())
	if err1 == nil && err2 == nil && os.SameFile(open, named) {
		return image.Name()
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), image.Fd())
}

// machine is a running QEMU. It implements [instance.Running].
type machine struct {
	process
	launch       *instance.Launch
	how          string
	streams      streams
	control      guest.Control
	debugControl *os.File
	exit         int // exit code that the image has sent, or noExit
	output       output
	link         link.Link         // the network card's link; nil: no card
	front        *vhostuser.Server // the card's back end, which QEMU connects to, or nil
}

func (vm *machine) How() string                 { return vm.how }
func (vm *machine) Processes() []int            { return []int{vm.cmd.Process.Pid} }
func (vm *machine) Ended() <-chan struct{}      { return vm.ended }
func (vm *machine) Accepts() bool               { return false }
func (vm *machine) Link() link.Link             { return vm.link }
func (vm *machine) Receive(handle func(string)) { vm.control.Receive(handle) }
func (vm *machine) Acknowledge(message string)  { vm.control.Send(message) }
func (vm *machine) Signal(sig unix.Signal)      { vm.control.Signal(sig, vm.process.signal) }

// Tasks implements [instance.Running].
func (vm *machine) Tasks() []func(context.Context) error {
	return []func(context.Context) error{
		vm.control.Serve,
		func(ctx context.Context) error { vm.streams.serve(ctx, vm.launch); return nil },
		func(context.Context) error { vm.exit = lastExit(vm.debugControl); return nil },
		func(context.Context) error {
			err := vm.output.listen(vm.launch.Log)
			if errors.Is(err, errStuck) {
				return instance.Errorf(instance.Accelerator, "%w: KVM does not run this image here: choose %s", err, TCG)
			}
			return err
		},
	}
}

// Unplug implements [instance.Running]. When a network ends, QEMU can only take the card's link
// down, as for an unplugged cable. So Unplug also sends the image a message that the link
// stays down.
func (vm *machine) Unplug() error {
	vm.control.Send(boot.NetworkEnd{}.String())
	return vm.closeFront()
}

func (vm *machine) closeFront() error {
	if vm.front == nil {
		return nil
	}
	return vm.front.Close()
}

// Stop implements [instance.Running].
func (vm *machine) Stop() error { return vm.closeFront() }

// Result implements [instance.Running].
func (vm *machine) Result() (int, error) {
	state, err := vm.reap()
	switch {
	case err != nil:
		return 0, err
	case vm.exit != noExit:
		return vm.exit, nil
	case vm.killed.Load():
		return boot.ExitSignal(int(unix.SIGKILL)), nil
	case state.Signaled():
		return 0, fmt.Errorf("QEMU died: %v%s", state.Signal(), vm.output.last())
	case state.ExitStatus() != 0:
		return 0, fmt.Errorf("QEMU failed with exit status %d%s", state.ExitStatus(), vm.output.last())
	}
	return 0, fmt.Errorf("the image crashed: the virtual machine was reset or switched off without an exit code%s", vm.output.last())
}
