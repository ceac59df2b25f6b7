//go:build !pith

package virtiotest

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// PCI is a Device as a PCI function (virtio 1.2 §4.1). It has 256 bytes of
// configuration space, which a test may damage, and one base address register.
// The capabilities point to the offsets below.
type PCI struct {
	Device *Device
	Space  [256]byte
	base   uint64

	mu    sync.Mutex // guards Space and table
	table []byte     // MSI-X table
	isr   atomic.Uint32

	access               sync.Mutex // guards the registers
	features, drivers    uint32     // feature selectors
	config               uint16     // vector of the configuration
	queue                uint16     // queue selector
	queues               []pciQueue
	desc, driver, device uint64
}

type pciQueue struct {
	size, vector uint16
}

// Offsets in the device's memory.
const (
	CommonOffset = 0x0000
	ISROffset    = 0x0800
	DeviceOffset = 0x1000
	NotifyOffset = 0x2000
	TableOffset  = 0x3000
	regionSize   = 0x1000
	notifyStep   = 4
)

// Line is the interrupt line of a device without MSI-X.
const Line = 11

// NewPCI makes d a PCI function with registers at base and vectors MSI-X
// entries. With 0 vectors it has the interrupt line Line instead.
func NewPCI(d *Device, base uint64, vectors int) *PCI {
	p := &PCI{Device: d, base: base, table: make([]byte, 16*vectors), config: 0xffff}
	for range d.queues {
		p.queues = append(p.queues, pciQueue{vector: 0xffff})
	}
	p.put(0x00, 4, 0x1040<<16|0x1af4+d.id<<16)
	p.put(0x06, 2, 1<<4) // has capabilities
	p.put(0x20, 4, uint32(base)|2<<1)
	p.put(0x24, 4, uint32(base>>32))
	p.put(0x34, 1, 0x40)
	at := 0x40
	add := func(size int, word uint32) {
		p.put(at, 4, word|uint32(at+size)<<8)
		at += size
	}
	if vectors == 0 {
		p.put(0x3c, 1, Line)
		add(12, 0xff)
	} else {
		p.put(0x40+4, 4, 4|TableOffset)
		add(12, 0x11|uint32(vectors-1)<<16)
	}
	for _, c := range []struct{ kind, off uint32 }{{1, CommonOffset}, {2, NotifyOffset}, {4, DeviceOffset}, {3, ISROffset}} {
		p.put(at+4, 4, 4)
		p.put(at+8, 4, c.off)
		p.put(at+12, 4, regionSize)
		p.put(at+16, 4, notifyStep)
		add(20, 9|20<<16|c.kind<<24)
	}
	p.put(at-20+1, 1, 0)
	return p
}

func (p *PCI) put(off, width int, v uint32) {
	for i := range width {
		p.Space[off+i] = byte(v >> (8 * i))
	}
}

// Config reads a word of the configuration space.
func (p *PCI) Config(off int) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return load(p.Space[:], off, 4)
}

// SetConfig writes a word of the configuration space.
func (p *PCI) SetConfig(off int, v uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch off {
	case 0x04:
		p.put(off, 2, v) // status bits are cleared by writing 1, and the driver writes none
	case 0x40:
		p.Space[0x43] = p.Space[0x43]&^0xc0 | byte(v>>24)&0xc0
	}
}

// Window returns the registers from addr on, as platform.MapDevice would.
func (p *PCI) Window(addr uint64, size int) (*PCIWindow, linux.Errno) {
	off := addr - p.base
	if addr < p.base || off >= 4*regionSize || size > 4*regionSize-int(off) {
		return nil, linux.EFAULT
	}
	return &PCIWindow{p, int(off)}, 0
}

// PCIWindow is a part of the device's memory.
type PCIWindow struct {
	p   *PCI
	off int
}

// Read loads a register.
func (w *PCIWindow) Read(off, width int) uint32 { return w.p.read(w.off+off, width) }

// Write stores to a register.
func (w *PCIWindow) Write(off, width int, v uint32) { w.p.write(w.off+off, width, v) }

func (p *PCI) read(off, width int) uint32 {
	if off >= DeviceOffset && off < NotifyOffset {
		return loadConfig(p.Device, off-DeviceOffset, width)
	}
	if off >= TableOffset {
		p.mu.Lock()
		defer p.mu.Unlock()
		return load(p.table, off-TableOffset, width)
	}
	if off == ISROffset {
		return p.isr.Swap(0)
	}
	p.access.Lock()
	defer p.access.Unlock()
	d, i := p.Device, int(p.queue)
	known := i < len(p.queues)
	switch off {
	case 0x04:
		return half(d.Features(), p.features)
	case 0x10:
		return uint32(p.config)
	case 0x12:
		return uint32(len(p.queues))
	case 0x14:
		return uint32(d.Status())
	case 0x15:
		return d.currentGeneration() & 0xff
	case 0x18:
		return uint32(d.QueueSize(i))
	case 0x1a:
		if known {
			return uint32(p.queues[i].vector)
		}
	case 0x1c:
		if known && d.Queue(i).Enabled() {
			return 1
		}
	case 0x1e:
		return uint32(i)
	}
	return 0
}

func (p *PCI) write(off, width int, v uint32) {
	switch {
	case off >= DeviceOffset && off < NotifyOffset:
		storeConfig(p.Device, off-DeviceOffset, width, v)
		return
	case off >= NotifyOffset && off < TableOffset:
		if off != NotifyOffset+int(v)*notifyStep {
			panic("virtiotest: the driver notifies a queue at another queue's address (virtio 1.2 §4.1.4.4)")
		}
		p.Device.Notify(int(v))
		return
	}
	if off >= TableOffset {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range width {
			p.table[off-TableOffset+i] = byte(v >> (8 * i))
		}
		return
	}
	p.access.Lock()
	defer p.access.Unlock()
	d, i := p.Device, int(p.queue)
	known := i < len(p.queues)
	switch off {
	case 0x00:
		p.features = v
	case 0x08:
		p.drivers = v
	case 0x0c:
		d.setHalf(p.drivers, v)
	case 0x10:
		p.config = p.take(v)
		d.setConfigured(p.send(p.config))
	case 0x14:
		d.SetStatus(uint8(v))
		if len(p.table) == 0 {
			d.setConfigured(func() { p.raise(2) })
		}
	case 0x16:
		p.queue = uint16(v)
	case 0x18:
		if known {
			p.queues[i].size = uint16(v)
		}
	case 0x1a:
		if known {
			p.queues[i].vector = p.take(v)
		}
	case 0x1c:
		if known && v == 1 {
			fire := p.send(p.queues[i].vector)
			if len(p.table) == 0 {
				fire = func() { p.raise(1) }
			}
			d.queues[i].set(int(p.queues[i].size), p.desc, p.driver, p.device, fire)
		}
	case 0x20, 0x24:
		setHalf(&p.desc, off&4 != 0, v)
	case 0x28, 0x2c:
		setHalf(&p.driver, off&4 != 0, v)
	case 0x30, 0x34:
		setHalf(&p.device, off&4 != 0, v)
	}
}

// take returns the vector, or 0xffff if it is not in the table.
func (p *PCI) take(vector uint32) uint16 {
	if int(vector) >= len(p.table)/16 {
		return 0xffff
	}
	return uint16(vector)
}

// raise sets bits of the interrupt status, and raises the line if it was down.
func (p *PCI) raise(bits uint32) {
	if p.isr.Or(bits) == 0 {
		platform.HostedPin(Line)
	}
}

// send returns a function that sends the message of a vector, if it is then
// enabled and not masked.
func (p *PCI) send(vector uint16) func() {
	return func() {
		if vector == 0xffff {
			return
		}
		p.mu.Lock()
		entry := p.table[16*int(vector):][:16]
		addr := uint64(load(entry, 0, 4)) | uint64(load(entry, 4, 4))<<32
		data, masked := load(entry, 8, 4), entry[12]&1 != 0
		enabled := p.Space[0x43]&0xc0 == 0x80
		p.mu.Unlock()
		if enabled && !masked {
			platform.HostedMessage(addr, data)
		}
	}
}

func load(from []byte, off, width int) uint32 {
	var v uint32
	for i := range width {
		if off+i >= 0 && off+i < len(from) {
			v |= uint32(from[off+i]) << (8 * i)
		}
	}
	return v
}
