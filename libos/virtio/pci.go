package virtio

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// pci is a device on PCI (virtio 1.2 §4.1). Its capabilities describe where its
// registers are.
type pci struct {
	name   string
	id     uint32
	common window
	notify window
	device window // size 0 if the device has no configuration
	table  window // MSI-X table
	isr    window // used without MSI-X

	queues     int                   // number of queues of the device
	notifyStep uint32                // notify_off_multiplier, in bytes
	notifyAt   []int                 // offset in notify, by queue; for queues that are set up
	vectors    []*platform.Interrupt // interrupts in table, by entry
	entries    int                   // number of entries in table; 0 without MSI-X
	pin        uint32                // of the I/O APIC; used without MSI-X
	routed     bool                  // the interrupt of pin is routed
	generation atomic.Uint32         // configuration generation at the last interrupt
}

// window is size bytes of the device's registers.
type window struct {
	registers
	size int
}

// The common configuration (§4.1.4.3).
const (
	commonDeviceFeatureSelect = 0x00
	commonDeviceFeature       = 0x04
	commonDriverFeatureSelect = 0x08
	commonDriverFeature       = 0x0c
	commonConfigVector        = 0x10
	commonNumQueues           = 0x12
	commonStatus              = 0x14
	commonGeneration          = 0x15
	commonQueueSelect         = 0x16
	commonQueueSize           = 0x18
	commonQueueVector         = 0x1a
	commonQueueEnable         = 0x1c
	commonQueueNotifyOff      = 0x1e
	commonQueueDesc           = 0x20
	commonQueueDriver         = 0x28
	commonQueueDevice         = 0x30
	commonSize                = 0x38
)

// An entry of the MSI-X table (PCI 3.0 §6.8.2.6 to 6.8.2.9).
const (
	msixAddress = 0x0
	msixData    = 0x8
	msixControl = 0xc // bit 0: masked
	msixEntry   = 0x10
)

// newPCI prepares function f, a virtio device. It returns ENODEV for a legacy
// device, EINVAL for invalid capabilities, and ENOTSUP for a device without a
// usable interrupt.
//
// All current devices have MSI-X, except QEMU's memory balloon. That has an
// interrupt line, whose pin the firmware has chosen (PCI 3.0 §6.2.4). The I/O
// APIC has the same pin number, as on PCs. Pin 0 means that the device has no interrupt line.
func newPCI(c pciConfig, m mapper, f function, id, pin uint32) (Transport, linux.Errno) {
	caps := readCapabilities(c, f)
	missing := caps.common.size == 0 || caps.notify.size == 0
	silent := caps.msix.size == 0 && (caps.isr.size == 0 || pin == 0)
	switch {
	case caps.misplaced && (missing || silent):
		return nil, linux.EINVAL
	case missing:
		return nil, linux.ENODEV
	case silent:
		return nil, linux.ENOTSUP
	case caps.common.size < commonSize || caps.notify.size < 2:
		return nil, linux.EINVAL
	}
	p := &pci{name: "pci " + f.String(), id: id, notifyStep: caps.notifyStep, entries: caps.msix.size / msixEntry, pin: pin}
	windows := []struct {
		to   *window
		from region
	}{{&p.common, caps.common}, {&p.notify, caps.notify}, {&p.device, caps.device}, {&p.table, caps.msix}}
	command := uint32(pciMemory | pciMaster | pciNoINTx)
	if p.entries == 0 {
		windows[3].to, windows[3].from = &p.isr, caps.isr
		command &^= pciNoINTx
	}
	c.Write(f, pciCommand, command)
	for _, w := range windows {
		if w.from.size == 0 {
			continue
		}
		r, errno := m(w.from.addr, w.from.size)
		if errno != 0 {
			return nil, errno
		}
		*w.to = window{r, w.from.size}
	}
	if p.entries > 0 {
		c.Write(f, caps.msixAt, msixEnable)
	}
	p.queues = int(p.common.Read(commonNumQueues, 2))
	p.generation.Store(p.common.Read(commonGeneration, 1))
	return p, 0
}

func (p *pci) Name() string     { return p.name }
func (p *pci) DeviceID() uint32 { return p.id }
func (p *pci) Status() uint8    { return uint8(p.common.Read(commonStatus, 1)) }
func (p *pci) Shutdown()        { p.common.Write(commonStatus, 1, 0) }

func (p *pci) SetStatus(s uint8) {
	p.common.Write(commonStatus, 1, uint32(s))
	if s == 0 {
		awaitReset(p.Status)
		p.vectors, p.notifyAt, p.routed = nil, nil, false
	}
}

func (p *pci) Features() uint64 {
	p.common.Write(commonDeviceFeatureSelect, 4, 0)
	low := p.common.Read(commonDeviceFeature, 4)
	p.common.Write(commonDeviceFeatureSelect, 4, 1)
	return uint64(p.common.Read(commonDeviceFeature, 4))<<32 | uint64(low)
}

func (p *pci) SetFeatures(f uint64) {
	p.common.Write(commonDriverFeatureSelect, 4, 0)
	p.common.Write(commonDriverFeature, 4, uint32(f))
	p.common.Write(commonDriverFeatureSelect, 4, 1)
	p.common.Write(commonDriverFeature, 4, uint32(f>>32))
}

func (p *pci) Config(off int, b []byte) bool {
	return off >= 0 && off <= p.device.size-len(b) &&
		readStable(p.device, off, b, func() uint32 { return p.common.Read(commonGeneration, 1) })
}

func (p *pci) SetConfig(off int, b []byte) bool {
	ok := off >= 0 && off <= p.device.size-len(b)
	if ok {
		writeConfig(p.device, off, b)
	}
	return ok
}

func (p *pci) QueueSize(i int) int {
	if i >= p.queues {
		return 0
	}
	p.common.Write(commonQueueSelect, 2, uint32(i))
	return int(p.common.Read(commonQueueSize, 2))
}

func (p *pci) SetQueue(i, size int, desc, driver, device uint64, irq *platform.Interrupt) linux.Errno {
	p.common.Write(commonQueueSelect, 2, uint32(i))
	if p.common.Read(commonQueueEnable, 2) != 0 {
		return linux.EBUSY // §4.1.4.3.2: it was not reset
	}
	at := uint64(p.common.Read(commonQueueNotifyOff, 2)) * uint64(p.notifyStep)
	if at > uint64(p.notify.size-2) || at%2 != 0 {
		return linux.EINVAL
	}
	for len(p.notifyAt) <= i {
		p.notifyAt = append(p.notifyAt, 0)
	}
	p.notifyAt[i] = int(at)
	p.common.Write(commonQueueSize, 2, uint32(size))
	for _, part := range [...]struct {
		reg  int
		phys uint64
	}{{commonQueueDesc, desc}, {commonQueueDriver, driver}, {commonQueueDevice, device}} {
		p.common.Write(part.reg, 4, uint32(part.phys))
		p.common.Write(part.reg+4, 4, uint32(part.phys>>32))
	}
	if errno := p.setInterrupt(commonQueueVector, irq); errno != 0 {
		return errno
	}
	p.common.Write(commonQueueEnable, 2, 1)
	return 0
}

func (p *pci) Notify(i int) { p.notify.Write(p.notifyAt[i], 2, uint32(i)) }

func (p *pci) OwnInterrupts() (queues, config bool) { return p.entries > p.queues, p.entries > 1 }

func (p *pci) SetConfigInterrupt(irq *platform.Interrupt) linux.Errno {
	return p.setInterrupt(commonConfigVector, irq)
}

// AckInterrupt reads why the pin is up, which also acknowledges it (§4.1.4.5).
// A message needs no acknowledgement and does not tell its cause. If the table
// has only one entry, the generation shows whether the configuration has
// changed.
func (p *pci) AckInterrupt() (queue, config bool) {
	switch p.entries {
	case 0:
		return ackAll(func() uint32 { return p.isr.Read(0, 1) }, func(uint32) {})
	case 1:
		now := p.common.Read(commonGeneration, 1)
		return true, p.generation.Swap(now) != now
	}
	return true, false
}

// setInterrupt makes the device raise irq for the vector register reg. The
// device must accept the vector (§4.1.5.1.2.1).
func (p *pci) setInterrupt(reg int, irq *platform.Interrupt) linux.Errno {
	if p.entries == 0 {
		if p.routed {
			return 0
		}
		errno := irq.Route(p.pin)
		p.routed = errno == 0
		return errno
	}
	vector, errno := p.vector(irq)
	if errno != 0 {
		return errno
	}
	p.common.Write(reg, 2, uint32(vector))
	if p.common.Read(reg, 2) != uint32(vector) {
		return linux.ENOSPC
	}
	return 0
}

// vector returns the entry of the MSI-X table that raises irq.
func (p *pci) vector(irq *platform.Interrupt) (int, linux.Errno) {
	for n, have := range p.vectors {
		if have == irq {
			return n, 0
		}
	}
	n := len(p.vectors)
	if n == p.entries {
		return 0, linux.ENOSPC
	}
	addr, data := irq.Message()
	entry := n * msixEntry
	p.table.Write(entry+msixAddress, 4, uint32(addr))
	p.table.Write(entry+msixAddress+4, 4, uint32(addr>>32))
	p.table.Write(entry+msixData, 4, data)
	p.table.Write(entry+msixControl, 4, 0)
	p.vectors = append(p.vectors, irq)
	return n, 0
}
