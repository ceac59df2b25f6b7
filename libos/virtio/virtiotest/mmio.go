//go:build !pith

package virtiotest

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// MMIO is the registers of an MMIO Device (virtio 1.2 §4.2.2). Its interrupt is
// a pin, which is up while the interrupt status is not 0. With Messages, it has
// interrupt messages instead, for each queue and for the configuration
// (boot.MMIOVendor).
type MMIO struct {
	Device   *Device
	Version  uint32
	Messages int // how many messages the device accepts in total; 0: it has a pin
	pin      uint32
	status   atomic.Uint32 // interrupt status

	mu                   sync.Mutex // guards the fields below
	features, drivers    uint32     // feature selectors
	queue, size          uint32
	desc, driver, device uint64
	message              uint64            // message address
	routes               map[uint32]func() // functions that send messages, by selector
}

// NewMMIO returns the registers of d, with its interrupt on pin gsi.
func NewMMIO(d *Device, gsi uint32) *MMIO {
	return &MMIO{Device: d, Version: 2, pin: gsi, routes: map[uint32]func(){}}
}

// send sets the message for the selected queue or the configuration.
func (m *MMIO) send(data uint32) {
	if len(m.routes) == m.Messages {
		m.Device.NeedReset()
		return
	}
	addr := m.message
	fire := func() { platform.HostedMessage(addr, data) }
	m.routes[m.queue] = fire
	if m.queue == boot.MMIOConfigSel {
		m.Device.setConfigured(fire)
	}
}

// interrupt returns a function that raises the interrupt of the queue being
// enabled.
func (m *MMIO) interrupt() func() {
	if m.Messages == 0 {
		return func() { m.raise(1) }
	}
	if fire := m.routes[m.queue]; fire != nil {
		return fire
	}
	panic("virtiotest: the driver enables a queue without an interrupt message")
}

func (m *MMIO) raise(bits uint32) {
	if m.status.Or(bits) == 0 {
		platform.HostedPin(m.pin) // an edge
	}
}

// Read loads a register.
func (m *MMIO) Read(off, width int) uint32 {
	if off >= 0x100 {
		return loadConfig(m.Device, off-0x100, width)
	}
	if width != 4 || off%4 != 0 {
		panic("virtiotest: a register is accessed in parts (virtio 1.2 §4.2.2.2)")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch off {
	case 0x000:
		return 0x74726976
	case 0x004:
		return m.Version
	case 0x008:
		return m.Device.DeviceID()
	case 0x00c:
		if m.Messages > 0 {
			return boot.MMIOVendor
		}
	case 0x010:
		return half(m.Device.Features(), m.features)
	case 0x034:
		return uint32(m.Device.QueueSize(int(m.queue)))
	case 0x044:
		if m.Device.QueueSize(int(m.queue)) > 0 && m.Device.Queue(int(m.queue)).Enabled() {
			return 1
		}
	case 0x060:
		if m.Messages > 0 {
			panic("virtiotest: the driver reads the interrupt status of a device with messages")
		}
		return m.status.Load()
	case 0x070:
		return uint32(m.Device.Status())
	case 0x0fc:
		return m.Device.currentGeneration()
	}
	return 0
}

// Write stores to a register.
func (m *MMIO) Write(off, width int, v uint32) {
	if off >= 0x100 {
		storeConfig(m.Device, off-0x100, width, v)
		return
	}
	if width != 4 || off%4 != 0 {
		panic("virtiotest: a register is accessed in parts (virtio 1.2 §4.2.2.2)")
	}
	if off == 0x050 {
		m.Device.Notify(int(v))
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch off {
	case 0x014:
		m.features = v
	case 0x020:
		m.Device.setHalf(m.drivers, v)
	case 0x024:
		m.drivers = v
	case 0x030:
		m.queue = v
	case 0x038:
		m.size = v
	case 0x044:
		if v == 1 && m.Device.QueueSize(int(m.queue)) > 0 {
			m.Device.Queue(int(m.queue)).set(int(m.size), m.desc, m.driver, m.device, m.interrupt())
		}
	case 0x064:
		m.status.And(^v)
	case 0x070:
		m.Device.SetStatus(uint8(v))
		if v == 0 {
			m.status.Store(0)
			if m.Messages == 0 {
				m.Device.setConfigured(func() { m.raise(2) })
			}
			clear(m.routes)
		}
	case 0x080, 0x084:
		setHalf(&m.desc, off&4 != 0, v)
	case 0x090, 0x094:
		setHalf(&m.driver, off&4 != 0, v)
	case 0x0a0, 0x0a4:
		setHalf(&m.device, off&4 != 0, v)
	case boot.MMIOMessageAddr, boot.MMIOMessageAddrTop:
		setHalf(&m.message, off == boot.MMIOMessageAddrTop, v)
	case boot.MMIOMessageData:
		m.send(v)
	}
}

func half(v uint64, n uint32) uint32 {
	if n > 1 {
		return 0
	}
	return uint32(v >> (32 * n))
}

func setHalf(to *uint64, high bool, v uint32) {
	if high {
		*to = *to&0xffffffff | uint64(v)<<32
	} else {
		*to = *to&^0xffffffff | uint64(v)
	}
}

func (d *Device) setHalf(n, v uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	setHalf(&d.features, n == 1, v)
}

func loadConfig(d virtio.Transport, off, width int) uint32 {
	var p [4]byte
	if !d.Config(off, p[:width]) {
		return 0xffffffff
	}
	return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
}

func storeConfig(d virtio.Transport, off, width int, v uint32) {
	p := [4]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}
	d.SetConfig(off, p[:width])
}
