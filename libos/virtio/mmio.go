package virtio

import (
	"strconv"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Registers of an MMIO device (virtio 1.2 §4.2.2).
const (
	mmioMagic             = 0x000
	mmioVersion           = 0x004
	mmioDeviceID          = 0x008
	mmioVendorID          = 0x00c
	mmioDeviceFeatures    = 0x010
	mmioDeviceFeaturesSel = 0x014
	mmioDriverFeatures    = 0x020
	mmioDriverFeaturesSel = 0x024
	mmioQueueSel          = 0x030
	mmioQueueNumMax       = 0x034
	mmioQueueNum          = 0x038
	mmioQueueReady        = 0x044
	mmioQueueNotify       = 0x050
	mmioInterruptStatus   = 0x060
	mmioInterruptACK      = 0x064
	mmioStatus            = 0x070
	mmioQueueDesc         = 0x080
	mmioQueueDriver       = 0x090
	mmioQueueDevice       = 0x0a0
	mmioConfigGeneration  = 0x0fc
	mmioConfig            = 0x100
)

const (
	mmioMagicValue = 0x74726976 // "virt"
	mmioModern     = 2          // version of virtio 1.x devices; 1 is legacy
)

// mmio is an MMIO device (§4.2). It has one interrupt, on a pin of the I/O
// APIC. The pin stays up until the interrupt is acknowledged, so the next edge
// comes only when all causes are acknowledged. Devices of our own monitor
// instead send an interrupt message per queue and one for the configuration
// (boot.MMIOVendor). These need no acknowledgement.
type mmio struct {
	registers
	name     string
	id       uint32
	config   int // size of the configuration space in bytes
	messages bool
	gsi      uint32 // used without messages
	routed   bool   // the interrupt of gsi is routed

	selector int64 // value of QueueSel; -1: unknown
}

// newMMIO returns the device whose registers are size bytes at addr. It returns
// ENODEV if there is no device, or a legacy one, which it reports on the
// console.
func newMMIO(r registers, addr uint64, size int, gsi uint32) (Transport, linux.Errno) {
	if size < mmioConfig || r.Read(mmioMagic, 4) != mmioMagicValue {
		return nil, linux.ENODEV
	}
	id := r.Read(mmioDeviceID, 4)
	if id == 0 {
		return nil, linux.ENODEV // an empty slot
	}
	m := &mmio{registers: r, name: "mmio " + strconv.FormatUint(addr, 16), id: id, config: size - mmioConfig, gsi: gsi, selector: -1}
	if r.Read(mmioVersion, 4) != mmioModern {
		report("pith: device " + m.name + " (virtio " + strconv.Itoa(int(id)) +
			") is a legacy device, older than virtio 1.0; QEMU has modern ones with -global virtio-mmio.force-legacy=false\n")
		return nil, linux.ENODEV
	}
	m.messages = r.Read(mmioVendorID, 4) == boot.MMIOVendor
	return m, 0
}

func (m *mmio) Name() string     { return m.name }
func (m *mmio) DeviceID() uint32 { return m.id }
func (m *mmio) Status() uint8    { return uint8(m.Read(mmioStatus, 4)) }
func (m *mmio) Shutdown()        { m.Write(mmioStatus, 4, 0) }

func (m *mmio) SetStatus(s uint8) {
	m.Write(mmioStatus, 4, uint32(s))
	if s == 0 {
		awaitReset(m.Status)
		m.routed, m.selector = false, -1
	}
}

func (m *mmio) Features() uint64 {
	m.Write(mmioDeviceFeaturesSel, 4, 0)
	low := m.Read(mmioDeviceFeatures, 4)
	m.Write(mmioDeviceFeaturesSel, 4, 1)
	return uint64(m.Read(mmioDeviceFeatures, 4))<<32 | uint64(low)
}

func (m *mmio) SetFeatures(f uint64) {
	m.Write(mmioDriverFeaturesSel, 4, 0)
	m.Write(mmioDriverFeatures, 4, uint32(f))
	m.Write(mmioDriverFeaturesSel, 4, 1)
	m.Write(mmioDriverFeatures, 4, uint32(f>>32))
}

func (m *mmio) Config(off int, p []byte) bool {
	return off >= 0 && off <= m.config-len(p) &&
		readStable(m, mmioConfig+off, p, func() uint32 { return m.Read(mmioConfigGeneration, 4) })
}

func (m *mmio) SetConfig(off int, p []byte) bool {
	ok := off >= 0 && off <= m.config-len(p)
	if ok {
		writeConfig(m, mmioConfig+off, p)
	}
	return ok
}

func (m *mmio) QueueSize(i int) int {
	m.choose(uint32(i))
	return int(m.Read(mmioQueueNumMax, 4))
}

func (m *mmio) SetQueue(i, size int, desc, driver, device uint64, irq *platform.Interrupt) linux.Errno {
	if errno := m.setInterrupt(uint32(i), irq); errno != 0 {
		return errno
	}
	m.choose(uint32(i))
	if m.Read(mmioQueueReady, 4) != 0 {
		return linux.EBUSY // §4.2.3.2: it was not reset
	}
	m.Write(mmioQueueNum, 4, uint32(size))
	for _, part := range [...]struct {
		reg  int
		phys uint64
	}{{mmioQueueDesc, desc}, {mmioQueueDriver, driver}, {mmioQueueDevice, device}} {
		m.halves(part.reg, part.phys)
	}
	m.Write(mmioQueueReady, 4, 1)
	return 0
}

// choose selects the queue whose registers are accessed.
func (m *mmio) choose(selector uint32) {
	if m.selector != int64(selector) {
		m.selector = int64(selector)
		m.Write(mmioQueueSel, 4, selector)
	}
}

// halves writes an address to a pair of registers. After a reset the registers
// of a device with messages hold 0. It skips needless writes, because each
// costs a guest some microseconds.
func (m *mmio) halves(reg int, addr uint64) {
	m.Write(reg, 4, uint32(addr))
	if high := uint32(addr >> 32); high != 0 || !m.messages {
		m.Write(reg+4, 4, high)
	}
}

func (m *mmio) Notify(i int) { m.Write(mmioQueueNotify, 4, uint32(i)) }

func (m *mmio) OwnInterrupts() (queues, config bool) { return m.messages, m.messages }

func (m *mmio) SetConfigInterrupt(irq *platform.Interrupt) linux.Errno {
	return m.setInterrupt(boot.MMIOConfigSel, irq)
}

// setInterrupt makes the device raise irq for selector: a queue, or the
// configuration. It uses a message, which the device must accept, or the
// device's pin.
func (m *mmio) setInterrupt(selector uint32, irq *platform.Interrupt) linux.Errno {
	if !m.messages {
		if m.routed {
			return 0
		}
		errno := irq.Route(m.gsi)
		m.routed = errno == 0
		return errno
	}
	addr, data := irq.Message()
	m.choose(selector)
	m.halves(boot.MMIOMessageAddr, addr)
	m.Write(boot.MMIOMessageData, 4, data)
	if m.Status()&StatusNeedsReset != 0 {
		return linux.ENOSPC
	}
	return 0
}

// AckInterrupt reads why the pin is up, and acknowledges it. With messages, it
// is called only for queues that share an interrupt.
func (m *mmio) AckInterrupt() (queue, config bool) {
	if m.messages {
		return true, false
	}
	return ackAll(
		func() uint32 { return m.Read(mmioInterruptStatus, 4) },
		func(bits uint32) { m.Write(mmioInterruptACK, 4, bits) })
}
