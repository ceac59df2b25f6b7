// Package virtio is the common part of virtio 1.2 drivers. It discovers PCI and
// MMIO devices (Discover), negotiates features (Open) and has virtqueues
// (Queue). Each driver is a package on top of it; package platform is below.
//
// A device is not trusted. Data from a device are read once from the shared
// memory, and checked before they are used. A device that lies is broken from
// then on: one line on the console says so, and its drivers return EIO. Only
// modern devices (virtio 1.0 and later) are supported.
package virtio

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Device IDs (virtio 1.2 §5).
const (
	IDNet     = 1
	IDBlock   = 2
	IDConsole = 3
	IDEntropy = 4
	IDBalloon = 5
	IDNineP   = 9
	IDSocket  = 19
)

// Status bits (virtio 1.2 §2.1).
const (
	StatusAcknowledge = 1
	StatusDriver      = 2
	StatusDriverOK    = 4
	StatusFeaturesOK  = 8
	StatusNeedsReset  = 64
	StatusFailed      = 128
)

// Features of the queues and the transport (virtio 1.2 §6). Open handles them;
// a driver passes only the features of its device type.
const (
	FeatureIndirect       = 1 << 28
	FeatureEventIndex     = 1 << 29
	FeatureVersion1       = 1 << 32
	FeatureAccessPlatform = 1 << 33
	FeatureOrderPlatform  = 1 << 36
)

// Transport gives access to the registers of one device. One goroutine at a
// time calls its methods. Exceptions are Config, Notify and AckInterrupt, which
// any goroutine may call at any time after the device has started.
type Transport interface {
	// Name returns the device's address for messages: "pci 00:03.0".
	Name() string
	// DeviceID returns the type of the device, such as IDNet.
	DeviceID() uint32

	Status() uint8
	// SetStatus writes the status. Writing 0 resets the device: SetStatus then
	// waits until the reset is complete, or gives up. Status shows which.
	SetStatus(uint8)

	// Features returns the features that the device offers.
	Features() uint64
	SetFeatures(uint64)

	// Config reads one field of the configuration at off into p, within one
	// generation (virtio 1.2 §2.5.3). Accesses have the width of the field, so p
	// must not have several. It returns false if the configuration is too short or
	// keeps changing.
	Config(off int, p []byte) bool
	// SetConfig writes one field of the configuration.
	SetConfig(off int, p []byte) bool

	// QueueSize returns the device's maximum size of queue i. 0 means that there
	// is no such queue.
	QueueSize(i int) int
	// SetQueue enables queue i with size entries. desc, driver and device are the
	// guest-physical addresses of its three parts (virtio 1.2 §2.7). The device
	// raises irq for used buffers.
	SetQueue(i, size int, desc, driver, device uint64, irq *platform.Interrupt) linux.Errno
	// Notify notifies the device of available buffers in queue i.
	Notify(i int)

	// OwnInterrupts reports whether each queue can have an interrupt of its own,
	// and whether the configuration can. Otherwise they use a shared one.
	OwnInterrupts() (queues, config bool)
	// SetConfigInterrupt makes the device raise irq when the configuration
	// changes.
	SetConfigInterrupt(irq *platform.Interrupt) linux.Errno
	// AckInterrupt acknowledges a shared interrupt, and returns its causes.
	AckInterrupt() (queue, config bool)

	// Shutdown stops the device for good. It no longer accesses memory afterwards.
	Shutdown()
}

// Buffer is memory that the device reads or writes.
type Buffer struct {
	Phys   uint64
	Mem    []byte
	hidden int // bytes of memory that is not mapped here
}

// Frames returns a buffer of page frames. Only the device accesses their
// memory.
func Frames(r platform.PageRun) Buffer {
	return Buffer{Phys: r.Phys, hidden: r.Pages * platform.PageSize}
}

func (b Buffer) len() int { return len(b.Mem) + b.hidden }

// Alloc allocates n bytes of zeroed, page-aligned memory. They are never freed.
func Alloc(n int) (Buffer, linux.Errno) {
	mem, phys, errno := platform.DMA(n)
	return Buffer{Phys: phys, Mem: mem}, errno
}

// arenaSize is how much memory is allocated for a device's queues at once, in
// bytes. The nucleus allocates it, and a nucleus call costs more than the
// memory of most queues.
const arenaSize = 64 << 10

// alloc is Alloc for the device's queues.
func (d *Device) alloc(n int) (Buffer, linux.Errno) {
	size := (n + platform.PageSize - 1) &^ (platform.PageSize - 1)
	if len(d.arena.Mem) < size && size <= arenaSize/4 {
		if b, errno := Alloc(arenaSize); errno == 0 {
			d.arena = b
		}
	}
	if len(d.arena.Mem) < size {
		return Alloc(n)
	}
	b := d.arena.Slice(0, n)
	d.arena = d.arena.Slice(size, len(d.arena.Mem))
	return b, 0
}

// Slice returns the part of b from lo to hi.
func (b Buffer) Slice(lo, hi int) Buffer {
	return Buffer{Phys: b.Phys + uint64(lo), Mem: b.Mem[lo:hi:hi]}
}

// Device is a device in use by a driver.
type Device struct {
	Transport
	features uint64
	onConfig func()
	queues   []*Queue            // in the order of NewQueue
	arena    Buffer              // rest for later queues
	shared   *platform.Interrupt // shared interrupt; nil if unused
	config   *platform.Interrupt // interrupt of the configuration alone; nil if shared
	closed   atomic.Bool
	failed   sync.Once
}

// Open opens the device of t for a driver. It resets the device, and negotiates
// the offered features in want and those of the queues (virtio 1.2 §3.1.1,
// steps 1 to 6). It returns EIO if the device violates the specification, and
// ENODEV if it is older than virtio 1.0.
func Open(t Transport, want uint64) (*Device, linux.Errno) {
	t.SetStatus(0)
	if t.Status() != 0 {
		return nil, linux.EIO
	}
	t.SetStatus(StatusAcknowledge)
	t.SetStatus(StatusAcknowledge | StatusDriver)
	offered := t.Features()
	if offered&FeatureVersion1 == 0 {
		t.SetStatus(StatusFailed)
		return nil, linux.ENODEV
	}
	// Without an IOMMU, guest-physical addresses are also the device's addresses,
	// and we program no IOMMU. So access by the platform's rules makes no
	// difference. Ordering is x86's in any case.
	want |= FeatureVersion1 | FeatureIndirect | FeatureEventIndex | FeatureAccessPlatform | FeatureOrderPlatform
	d := &Device{Transport: t, features: offered & want}
	t.SetFeatures(d.features)
	t.SetStatus(StatusAcknowledge | StatusDriver | StatusFeaturesOK)
	if t.Status()&StatusFeaturesOK == 0 {
		t.SetStatus(StatusFailed)
		return nil, linux.EIO
	}
	return d, 0
}

// Has reports whether feature was negotiated.
func (d *Device) Has(feature uint64) bool { return d.features&feature == feature }

// OnConfig sets a function to call after each change of the configuration. It
// must be called before Start. The goroutine that calls fn may also be the one
// that wakes waiters of queues, so fn must not wait.
func (d *Device) OnConfig(fn func()) { d.onConfig = fn }

// Start starts the device (DRIVER_OK).
func (d *Device) Start() linux.Errno {
	// Every driver needs this interrupt, because it also reports that the device
	// failed. A driver without OnConfig can do without it, though.
	if errno := d.openConfigInterrupt(); errno != 0 && d.onConfig != nil {
		return errno
	}
	if d.shared != nil {
		go d.dispatch()
	}
	if d.config != nil {
		go d.watchConfig()
	}
	d.SetStatus(StatusAcknowledge | StatusDriver | StatusFeaturesOK | StatusDriverOK)
	return 0
}

func (d *Device) openConfigInterrupt() linux.Errno {
	_, own := d.OwnInterrupts()
	irq, errno := d.interrupt(own)
	if errno != 0 {
		return errno
	}
	if own {
		d.config = irq
	}
	return d.SetConfigInterrupt(irq)
}

// interrupt returns a new interrupt if own is set, else the shared one.
func (d *Device) interrupt(own bool) (*platform.Interrupt, linux.Errno) {
	if !own && d.shared != nil {
		return d.shared, 0
	}
	irq, errno := platform.NewInterrupt()
	if errno == 0 && !own {
		d.shared = irq
	}
	return irq, errno
}

// dispatch passes the shared interrupt on.
func (d *Device) dispatch() {
	for !d.closed.Load() {
		d.shared.Wait()
		queue, config := d.AckInterrupt()
		if config {
			d.configChanged()
		}
		if queue {
			for _, q := range d.queues {
				q.waiter.Wake()
			}
		}
	}
}

func (d *Device) watchConfig() {
	for {
		d.config.Wait()
		if d.closed.Load() {
			return
		}
		d.configChanged()
	}
}

// configChanged handles a configuration interrupt. It also means that the
// device may need a reset (virtio 1.2 §2.1.2).
func (d *Device) configChanged() {
	if d.closed.Load() {
		return
	}
	if d.Status()&StatusNeedsReset != 0 {
		d.Fail("it has failed")
		return
	}
	if d.onConfig != nil {
		d.onConfig()
	}
}

// Fail gives the device up: its queues are broken from now on. The first call
// prints what happened on the console. what is a clause that begins with "it".
func (d *Device) Fail(what string) {
	d.failed.Do(func() {
		// The console may be on this device. Its driver may hold its locks here, so
		// it must not wait for the output.
		go report("pith: device " + d.Name() + " (virtio " + strconv.Itoa(int(d.DeviceID())) + ") is broken: " + what + "\n")
		d.breakQueues()
	})
}

var report = func(line string) { platform.ConsoleWrite(2, []byte(line)) }

func (d *Device) breakQueues() {
	for _, q := range d.queues {
		q.broken.Store(true)
		q.wake()
	}
}

// Shutdown stops the device for good. It breaks the queues without a message.
func (d *Device) Shutdown() {
	d.closed.Store(true)
	d.failed.Do(d.breakQueues)
	d.Transport.Shutdown()
	if d.shared != nil {
		d.shared.Fire()
	}
	if d.config != nil {
		d.config.Fire()
	}
}
