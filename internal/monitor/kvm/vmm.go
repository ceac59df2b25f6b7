package kvm

import (
	"fmt"
	"net"
	"os"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/console"
	"github.com/pith-os/pith/internal/device/vhost"
	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/vhostuser"
	"github.com/pith-os/pith/libos/boot"
)

// vmm is the virtual machine monitor proper: the machine, its devices and what
// they stand on.
type vmm struct {
	*machine
	req     *request
	entry   uint64
	console *console.Device
	words   []string // of the boot parameters: where the devices are
}

// build makes the machine that is asked for. It opens nothing: files are what
// the process began with.
func build(req *request, log func(string, ...any)) (*vmm, error) {
	image := os.NewFile(uintptr(req.Image), "image")
	v := &vmm{req: req}
	var err error
	if v.entry, err = entry(image); err != nil {
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
		return nil, err
	}
	if err := v.plugIn(); err != nil {
		return nil, err
	}
	tsc, err := v.cpus[0].MSR(msrTSC)
	if err != nil {
		return nil, err
	}
	return v, mem.writeStart(bootLine(req.Line, v.words, boot.Clock{Time: now(), TSC: tsc}))
}

// msrTSC is the time stamp counter (Intel SDM 4, IA32_TIME_STAMP_COUNTER).
const msrTSC = 0x10

// stream is one of the standard streams, or nil.
func (v *vmm) stream(fd int) *os.File {
	if !v.req.Streams[fd] {
		return nil
	}
	return [...]*os.File{os.Stdin, os.Stdout, os.Stderr}[fd]
}

// plugIn makes the devices.
func (v *vmm) plugIn() error {
	v.console = console.New(v.memory.queue, v.ports()...)
	devices := []device.Device{v.console}
	if v.req.Net != nil {
		card, err := v.card(v.req.Net)
		if err != nil {
			return err
		}
		devices = append(devices, card)
	}
	for _, d := range devices {
		word, err := v.add(d)
		if err != nil {
			return err
		}
		v.words = append(v.words, word)
	}
	return nil
}

// ports are the console's.
func (v *vmm) ports() []console.Port {
	control := os.NewFile(uintptr(v.req.Control), boot.PortControl)
	ports := []console.Port{
		{Name: boot.PortStdin, Input: v.stream(0)},
		{Name: boot.PortStdout, Output: v.stream(1), Window: v.req.Window},
	}
	if !v.req.OneOutput {
		ports = append(ports, console.Port{Name: boot.PortStderr, Output: v.stream(2)})
	}
	return append(ports, console.Port{Name: boot.PortControl, Input: control, Output: control})
}

// card is a network card whose packets the parent moves.
func (v *vmm) card(r *netRequest) (device.Device, error) {
	mac, err := net.ParseMAC(r.MAC)
	if err != nil {
		return nil, err
	}
	var shared []vhostuser.Region
	for _, s := range v.memory.ram {
		shared = append(shared, vhostuser.Region{Addr: s.addr, Size: uint64(len(s.mem)), File: v.memory.file, Offset: offset(s.addr)})
	}
	d, err := vhost.NewUser(os.NewFile(uintptr(r.Socket), "network"), v.memory.queue, shared,
		vhost.Card{MAC: mac, Pairs: r.Pairs, MTU: r.MTU})
	if err != nil {
		return nil, fmt.Errorf("network card: %w", err)
	}
	return d, nil
}
