package kvm

import (
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/balloon"
	"github.com/pith-os/pith/internal/device/block"
	"github.com/pith-os/pith/internal/device/console"
	"github.com/pith-os/pith/internal/device/ninep"
	"github.com/pith-os/pith/internal/device/rng"
	"github.com/pith-os/pith/internal/device/vsock"
	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/kvm/confine"
	"github.com/pith-os/pith/libos/boot"
)

// vmm is the state of the VMM: the VM, its devices and their resources.
type vmm struct {
	*machine
	req     *request
	console *console.Device
	places  []string // fields of the boot parameters with the devices' addresses
	fds     confine.Descriptors
}

// build makes the requested VM. It opens no files: it uses the descriptors that the process
// started with.
func build(req *request, log func(string, ...any)) (*vmm, error) {
	// Close the file before the process confines itself. The garbage collector would
	// close it too late.
	image := os.NewFile(uintptr(req.Image), "image")
	defer image.Close()
	v := &vmm{req: req}
	entry, err := entry(image)
	if err != nil {
		return nil, err
	}
	sys, err := kvm.New(req.KVM)
	if err != nil {
		return nil, err
	}
	mem, err := newMemory(req.Memory, image, req.HugePages)
	if err != nil {
		return nil, err
	}
	text := v.stream(2)
	if req.OneOutput {
		text = v.stream(1)
	}
	if v.machine, err = newMachine(sys, mem, req.CPUs, text, log); err != nil {
		return nil, fmt.Errorf("make a virtual machine: %w: %s", err, otherwise)
	}
	var cpus []int
	for _, c := range v.cpus {
		cpus = append(cpus, c.FD())
	}
	v.fds = confine.None(v.vm.FD(), cpus)
	v.fds.Inputs = []int{0}
	v.fds.Outputs = []int{1, 2}
	v.fds.Sockets = []int{statusFD}
	if err := v.plugIn(log); err != nil {
		return nil, err
	}
	doorbell, err := v.addDoorbell()
	if err != nil {
		return nil, err
	}
	if err := v.cpus[0].Begin(entry, startInfoAddr); err != nil {
		return nil, err
	}
	tsc, err := v.cpus[0].MSR(msrTSC)
	if err != nil {
		return nil, err
	}
	return v, mem.writeStart(bootLine(req.Line, v.places, doorbell, boot.Clock{Time: now(), TSC: tsc}))
}

// otherwise is the advice in an error message if KVM does not work.
const otherwise = "choose another monitor"

// msrTSC is the time stamp counter (Intel SDM 4, IA32_TIME_STAMP_COUNTER).
const msrTSC = 0x10

// guestCID is the address of the guest's AF_VSOCK sockets, the first that is free (vsock(7)).
// VMs do not see each other, so all VMs use this address.
const guestCID = 3

// stream returns a standard stream; nil if the program does not have it.
func (v *vmm) stream(fd int) *os.File {
	if !v.req.Streams[fd] {
		return nil
	}
	return [...]*os.File{os.Stdin, os.Stdout, os.Stderr}[fd]
}

// plugIn makes the devices.
func (v *vmm) plugIn(log func(string, ...any)) error {
	mem := v.memory.queue
	v.console = console.New(mem, v.ports()...)
	devices := []device.Device{v.console, rng.New(mem), balloon.New(mem, balloon.Discard)}
	if v.req.Net != nil {
		card, err := v.card(v.req.Net)
		if err != nil {
			return err
		}
		devices = append(devices, card)
	}
	for _, f := range v.req.Folders {
		devices = append(devices, ninep.New(mem, f.Tag, v.socket(f.Socket, f.Tag)))
	}
	for _, r := range v.req.Disks {
		list := &v.fds.Disks
		if r.Info.ReadOnly {
			list = &v.fds.ReadOnlyDisks
		}
		*list = append(*list, r.File)
		d, err := block.New(mem, os.NewFile(uintptr(r.File), r.Info.ID), r.Info, block.Options{
			Queues: r.Queues, Rate: r.Rate, IOPS: r.IOPS,
			Report: func(err error) { log("disk %s: %v", r.Info.ID, err) },
		})
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	if r := v.req.Vsock; r != nil {
		v.fds.Listener = r.Listener
		d, err := vsock.New(mem, guestCID, os.NewFile(uintptr(r.Listener), "vsock"), v.socket(r.Broker, "vsock broker"))
		if err != nil {
			return err
		}
		devices = append(devices, d)
	}
	for _, d := range devices {
		field, err := v.add(d)
		if err != nil {
			return err
		}
		v.places = append(v.places, field)
	}
	return nil
}

// ports returns the console's ports.
func (v *vmm) ports() []console.Port {
	control := v.socket(v.req.Control, boot.PortControl)
	ports := []console.Port{
		{Name: boot.PortStdin, Input: v.stream(0)},
		{Name: boot.PortStdout, Output: v.stream(1)},
	}
	if !v.req.OneOutput {
		ports = append(ports, console.Port{Name: boot.PortStderr, Output: v.stream(2)})
	}
	return append(ports, console.Port{Name: boot.PortControl, Input: control, Output: control})
}

// socket returns a socket to the parent.
func (v *vmm) socket(fd int, name string) *os.File {
	v.fds.Sockets = append(v.fds.Sockets, fd)
	return os.NewFile(uintptr(fd), name)
}
