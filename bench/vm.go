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

// The figures of virtual machines compare an image with a Linux guest: Debian's
// cloud kernel with the plain binary as its only program. Both have the same QEMU,
// machine type, accelerator, CPU model and memory, and one CPU. The kernel is
// unpacked before, and boots by the PVH ABI as the image does. So neither firmware
// nor unpacking counts against Linux. The kernel's command line leaves out what
// takes time and has no use here: absent devices, the kernel's tests of its
// cryptography, and waiting for entropy.
const (
	guestMemory = 256 // MB, unless the figure measures memory
	linuxLine   = "console=ttyS0 quiet panic=-1 pci=off i8042.noaux i8042.nokbd 8250.nr_uarts=1 " +
		"random.trust_cpu=on cryptomgr.notests"
)

// linux is the contestant that runs the Linux guest.
var linux = harness.Monitor{Name: "linux"}

// vmContestants returns the contestants of the figures of virtual machines.
func (b *bench) vmContestants() []harness.Monitor {
	var list []harness.Monitor
	for _, m := range harness.Monitors {
		if m.Name == qemu.Microvm {
			list = append(list, m)
		}
	}
	return append(list, linux)
}

// accel returns QEMU's accelerator: KVM where QEMU can use it, else TCG.
var accel = sync.OnceValue(func() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := qemu.TryKVM(ctx); err != nil {
		return qemu.TCG
	}
	return qemu.KVM
})

// onMachine returns a server at port 80. Its flags of pith run ask for the same
// virtual machine as the Linux guest has.
func onMachine(pkg string) harness.Program {
	return harness.Program{
		Package: "./bench/programs/" + pkg, Args: []string{":80"}, Ports: []string{"80"},
		Flags: []string{"--accel", accel(), "--cpus", "1", "--memory", strconv.Itoa(guestMemory) + "M"},
	}
}

// guest describes a virtual machine that the benchmark starts by itself.
type guest struct {
	kernel  []byte                 // an ELF file with a PVH entry
	disk    []byte                 // initial RAM disk, if any
	line    func(*boot.Net) string // the kernel's command line, given the network
	memory  int                    // in MB
	network bool
	args    []string // more arguments for QEMU
}

// newGuest returns a guest that runs p. It has a network if p has ports.
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

// linuxGuest returns Linux with p as its first process. If p has ports, a process
// that brings up the network comes first.
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
	fields := []string{linuxLine}
	if accel() != qemu.KVM {
		clock, err := linuxguest.Clock()
		if err != nil {
			return nil, err
		}
		fields = append(fields, clock)
	}
	g.line = func(n *boot.Net) string {
		all := slices.Clone(fields)
		if n != nil {
			all = append(all, linuxguest.Network(*n))
		}
		return strings.Join(append(append(all, "--"), p.Args...), " ")
	}
	g.kernel, err = os.ReadFile(vmlinux)
	return g, err
}
