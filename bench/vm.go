package main

import (
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pith-os/pith/bench/linuxguest"
	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/monitor/qemu"
	"github.com/pith-os/pith/libos/boot"
)

// The figures of virtual machines compare an image with a Linux guest, Debian's
// cloud kernel with the plain binary as its only program, on the same QEMU,
// machine type, accelerator, CPU model and memory, with one CPU. The kernel is
// unpacked and boots as the image does, by the PVH ABI: neither firmware nor
// unpacking is on its account. Its command line leaves out what takes time and
// is of no use here: devices that the machine does not have, tests of its own
// cryptography, waiting for entropy.
const (
	guestMemory = 256 // MB, where memory is not what is measured
	linuxLine   = "console=ttyS0 quiet panic=-1 pci=off i8042.noaux i8042.nokbd 8250.nr_uarts=1 " +
		"random.trust_cpu=on cryptomgr.notests"
)

// linux is the contestant that runs the Linux guest.
var linux = harness.Monitor{Name: "linux"}

// machines are the contestants of virtual machines.
func (b *bench) machines() []harness.Monitor {
	var list []harness.Monitor
	for _, m := range harness.Monitors {
		if m.Name == qemu.Microvm {
			list = append(list, m)
		}
	}
	return append(list, linux)
}

// accel is KVM where it runs code for QEMU, else TCG.
var accel = sync.OnceValue(func() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := qemu.TryKVM(ctx); err != nil {
		return qemu.TCG
	}
	return qemu.KVM
})

// onMachine is a server at port 80, with the flags of pith run that give it the
// Linux guest's machine.
func onMachine(pkg string) harness.Program {
	return harness.Program{
		Package: "./bench/programs/" + pkg, Args: []string{":80"}, Ports: []string{"80"},
		Flags: []string{"--accel", accel(), "--cpus", "1", "--memory", strconv.Itoa(guestMemory) + "M"},
	}
}

// guest is a virtual machine that is started without pith run.
type guest struct {
	kernel  []byte                 // an ELF file with a PVH entry
	disk    []byte                 // initial RAM disk, if any
	line    func(*boot.Net) string // the kernel's command line, given the network
	memory  int                    // in MB
	network bool
	args    []string // further ones of QEMU
}

// newGuest is a guest that runs p, with a network if p has ports.
func (b *bench) newGuest(m harness.Monitor, p harness.Program) (*guest, error) {
	if m.Name == linux.Name {
		return b.linuxGuest(p)
	}
	image, err := b.lab.Image(b.ctx, p)
	if err != nil {
		return nil, err
	}
	g := &guest{memory: guestMemory, network: len(p.Ports) > 0}
	g.line = func(n *boot.Net) string {
		return boot.Config{PID: 1, Args: append([]string{"program"}, p.Args...), Net: n}.String()
	}
	g.kernel, err = os.ReadFile(image)
	return g, err
}

// linuxGuest is Linux with p as its first process, or after the one that brings
// up the network.
func (b *bench) linuxGuest(p harness.Program) (*guest, error) {
	k, err := linuxguest.Fetch(b.ctx)
	if err != nil {
		return nil, err
	}
	vmlinux, err := k.Uncompressed(b.ctx)
	if err != nil {
		return nil, err
	}
	program, err := b.lab.Plain(b.ctx, p)
	if err != nil {
		return nil, err
	}
	g := &guest{memory: guestMemory, network: len(p.Ports) > 0}
	if g.network {
		g.disk, err = k.Networked(b.ctx, program)
	} else {
		g.disk, err = linuxguest.Bare(program)
	}
	if err != nil {
		return nil, err
	}
	words := []string{linuxLine}
	if accel() != qemu.KVM {
		clock, err := linuxguest.Clock()
		if err != nil {
			return nil, err
		}
		words = append(words, clock)
	}
	g.line = func(n *boot.Net) string {
		all := slices.Clone(words)
		if n != nil {
			all = append(all, linuxguest.Network(*n))
		}
		return strings.Join(append(append(all, "--"), p.Args...), " ")
	}
	g.kernel, err = os.ReadFile(vmlinux)
	return g, err
}
