//go:build !pith

// Package consoletest is a virtio console in memory that behaves like QEMU's
// (virtio 1.2 §5.3). It is for tests of the driver and of its users.
package consoletest

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// Features of the device.
const (
	Size      = 1 << 0
	Multiport = 1 << 1
)

// Events of control messages.
const (
	DeviceReady = 0
	PortAdd     = 1
	PortRemove  = 2
	PortReady   = 3
	ConsolePort = 4
	Resize      = 5
	PortOpen    = 6
	PortName    = 7
)

// Queues of control messages.
const (
	QueueControlIn  = 2
	QueueControlOut = 3
)

// Device is a console.
type Device struct {
	*virtiotest.Device
	t testing.TB

	mu      sync.Mutex
	ports   []*Port
	opened  map[uint32]bool
	refused map[uint32]bool
}

// Port is a port of a console.
type Port struct {
	ID     uint32
	Name   string // empty: the port is a console
	Closed bool   // the host's end is not open
	Full   bool   // the device keeps written buffers
	// OnWrite is called with data that the driver has written. It may be nil.
	OnWrite func(p []byte)

	written bytes.Buffer
}

// New returns a console with ports, whose numbers are below max. With feature
// Size, its window has 100 by 40 characters.
func New(t testing.TB, features uint64, max uint32, ports ...Port) *Device {
	config := binary.LittleEndian.AppendUint32([]byte{100, 0, 40, 0}, max)
	sizes := make([]int, 2*max+2)
	for i := range sizes {
		sizes[i] = 128
	}
	d := &Device{Device: virtiotest.New(virtio.IDConsole, features, config, sizes...), t: t,
		opened: map[uint32]bool{}, refused: map[uint32]bool{}}
	d.Queue(QueueControlOut).Serve(d.control)
	for _, p := range ports {
		d.ports = append(d.ports, &p)
		if p.Full {
			continue
		}
		d.Queue(OutOf(p.ID)).Serve(func(c *virtiotest.Chain) int {
			d.mu.Lock()
			p.written.Write(c.Bytes())
			d.mu.Unlock()
			if p.OnWrite != nil {
				p.OnWrite(c.Bytes())
			}
			return 0
		})
	}
	return d
}

// OutOf returns the number of a port's queue for output. InOf returns that for
// input.
func OutOf(id uint32) int {
	if id == 0 {
		return 1
	}
	return int(3 + 2*id)
}

func InOf(id uint32) int { return OutOf(id) - 1 }

// control handles a control message from the driver.
func (d *Device) control(c *virtiotest.Chain) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := c.Bytes()
	id, event, value := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	switch event {
	case DeviceReady:
		for _, p := range d.ports {
			d.SendControl(p.ID, PortAdd, 1, nil)
		}
	case PortReady:
		d.refused[id] = value == 0
		if p := d.port(id); p != nil && value == 1 {
			d.introduce(p)
		}
	case PortOpen:
		d.opened[id] = value == 1
	}
	return 0
}

func (d *Device) introduce(p *Port) {
	if p.Name == "" {
		d.SendControl(p.ID, ConsolePort, 1, nil)
	} else {
		d.SendControl(p.ID, PortName, 1, []byte(p.Name+"\x00"))
	}
	if !p.Closed {
		d.SendControl(p.ID, PortOpen, 1, nil)
	}
}

func (d *Device) port(id uint32) *Port {
	for _, p := range d.ports {
		if p.ID == id {
			return p
		}
	}
	return nil
}

// SendControl sends a control message to the driver, unless the driver has shut
// the device down.
func (d *Device) SendControl(id uint32, event, value uint16, more []byte) {
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint16(b, event)
	b = binary.LittleEndian.AppendUint16(b, value)
	if q := d.Queue(QueueControlIn); !q.Send(append(b, more...)) && q.Enabled() {
		d.t.Errorf("the driver has no buffer for control message %d", event)
	}
}

// Text returns what was written to a port.
func (d *Device) Text(id uint32) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.port(id).written.String()
}

// Opened reports whether the driver has opened a port. Refused reports whether
// the driver could not use it.
func (d *Device) Opened(id uint32) bool  { return d.has(d.opened, id) }
func (d *Device) Refused(id uint32) bool { return d.has(d.refused, id) }

func (d *Device) has(set map[uint32]bool, id uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return set[id]
}

// Type sends text to a port as soon as the driver reads from it.
func (d *Device) Type(id uint32, text string) {
	d.t.Helper()
	Eventually(d.t, "a buffer for input", func() bool { return d.Queue(InOf(id)).Send([]byte(text)) })
}

// Eventually waits until is returns true.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen in 10 seconds: %s", what)
		}
	}
}
