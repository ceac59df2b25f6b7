//go:build !pith

// Package virtiotest is the device's side of virtio in memory, for tests of
// drivers. A Device is the Transport that the driver opens. A test plays the
// device, honestly (Serve, Pop, Push) or as a liar (Lie).
package virtiotest

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Device is a virtio device in memory. It has an interrupt for each queue.
type Device struct {
	id      uint32
	offered uint64
	queues  []*Queue

	mu         sync.Mutex
	status     uint8
	features   uint64
	config     []byte
	generation uint32
	configured func() // interrupts the driver; nil: no interrupt is set up
	onConfig   func()
}

// New returns a device with the given ID, configuration and queue sizes. It
// offers features and those of every modern device.
func New(id uint32, features uint64, config []byte, sizes ...int) *Device {
	d := &Device{id: id, config: config,
		offered: features | virtio.FeatureVersion1 | virtio.FeatureEventIndex | virtio.FeatureIndirect}
	for _, size := range sizes {
		d.queues = append(d.queues, &Queue{dev: d, max: size, notified: make(chan struct{}, 1)})
	}
	return d
}

// Without removes offered features, such as FeatureEventIndex.
func (d *Device) Without(features uint64) *Device {
	d.offered &^= features
	return d
}

// Queue returns queue i.
func (d *Device) Queue(i int) *Queue { return d.queues[i] }

// Accepted returns the features that the driver accepted.
func (d *Device) Accepted() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.features
}

// Change calls fn to change the configuration, and interrupts the driver.
func (d *Device) Change(fn func(config []byte)) {
	d.mu.Lock()
	fn(d.config)
	d.generation++
	fire := d.configured
	d.mu.Unlock()
	if fire != nil {
		fire()
	}
}

func (d *Device) currentGeneration() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.generation
}

// OnConfig sets a function to call after each SetConfig by the driver.
func (d *Device) OnConfig(fn func()) { d.onConfig = fn }

// NeedReset reports to the driver that the device needs a reset (virtio 1.2
// §2.1.2).
func (d *Device) NeedReset() {
	d.mu.Lock()
	d.status |= virtio.StatusNeedsReset
	d.mu.Unlock()
	d.Change(func([]byte) {})
}

// The methods below implement virtio.Transport.

func (d *Device) Name() string     { return "test" }
func (d *Device) DeviceID() uint32 { return d.id }
func (d *Device) Features() uint64 { return d.offered }
func (d *Device) Shutdown()        { d.SetStatus(0) }

func (d *Device) Status() uint8 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.status
}

func (d *Device) SetStatus(s uint8) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = s
	if s == 0 {
		d.features, d.configured = 0, nil
		for _, q := range d.queues {
			q.reset()
		}
	}
}

func (d *Device) SetFeatures(f uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.features = f
}

func (d *Device) Config(off int, p []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off+len(p) > len(d.config) {
		return false
	}
	copy(p, d.config[off:])
	return true
}

func (d *Device) SetConfig(off int, p []byte) bool {
	d.mu.Lock()
	ok := off >= 0 && off+len(p) <= len(d.config)
	if ok {
		copy(d.config[off:], p)
	}
	d.mu.Unlock()
	if ok && d.onConfig != nil {
		d.onConfig()
	}
	return ok
}

func (d *Device) QueueSize(i int) int {
	if i < 0 || i >= len(d.queues) {
		return 0
	}
	return d.queues[i].max
}

func (d *Device) SetQueue(i, size int, desc, driver, device uint64, irq *platform.Interrupt) linux.Errno {
	if i < 0 || i >= len(d.queues) {
		return linux.EINVAL
	}
	d.queues[i].set(size, desc, driver, device, irq.Fire)
	return 0
}

func (d *Device) Notify(i int) {
	q := d.queues[i]
	if fn := q.onNotify; fn != nil {
		fn()
		return
	}
	select {
	case q.notified <- struct{}{}:
	default:
	}
}

func (d *Device) OwnInterrupts() (queues, config bool) { return true, true }

func (d *Device) SetConfigInterrupt(irq *platform.Interrupt) linux.Errno {
	d.setConfigured(irq.Fire)
	return 0
}

func (d *Device) setConfigured(fire func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.configured = fire
}

func (d *Device) AckInterrupt() (queue, config bool) { return true, true }
