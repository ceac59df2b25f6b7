// Package virtio is the driver's side of virtio 1.2, what all its drivers
// share: finding devices on PCI and in memory (Discover), agreeing on features
// (Open) and virtqueues (Queue). Drivers are packages of their own on top of
// it; below it is package platform.
//
// A device is not trusted. What it says is read once, from memory that it
// shares with us, and checked before anything is decided on it; a device that
// lies is broken from then on, with one line on the console, and its drivers
// answer EIO. Only modern devices are driven (virtio 1.0 and later).
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

// Features that belong to the queues and the transport (virtio 1.2 §6). Open
// sees to them; a driver asks for those of its device alone.
const (
	FeatureIndirect       = 1 << 28
	FeatureEventIndex     = 1 << 29
	FeatureVersion1       = 1 << 32
	FeatureAccessPlatform = 1 << 33
	FeatureOrderPlatform  = 1 << 36
)

// Transport is the way to one device: its registers. Its methods are called
// by one goroutine at a time, but for Config, Notify and AckInterrupt, which
// any may call at any time once the device has started.
type Transport interface {
	// Name is the device's place, for messages: "pci 00:03.0".
	Name() string
	// DeviceID says what kind of device it is, IDNet for example.
	DeviceID() uint32

	Status() uint8
	// SetStatus writes the status. Writing 0 resets the device, and waits
	// until it has been or clearly will not be, which Status tells.
	SetStatus(uint8)

	// Features are those that the device offers.
	Features() uint64
	SetFeatures(uint64)

	// Config reads the device's configuration from off on, all of p at one
	// generation (virtio 1.2 §2.5.3); false: there is not as much, or it
	// does not stop to change. One field at a time, so that the accesses
	// have the field's width.
	Config(off int, p []byte) bool
	// SetConfig writes to the configuration.
	SetConfig(off int, p []byte) bool

	// QueueSize is the device's largest size of queue i; 0: it has none.
	QueueSize(i int) int
	// SetQueue enables queue i of size entries at the given physical
	// addresses of its three parts (virtio 1.2 §2.7), with irq raised for
	// used buffers.
	SetQueue(i, size int, desc, driver, device uint64, irq *platform.Interrupt) linux.Errno
	// Notify tells the device that queue i has new buffers.
	Notify(i int)

	// OwnInterrupts says whether each queue, and the configuration, can
	// have an interrupt of its own. What cannot is given a shared one.
	OwnInterrupts() (queues, config bool)
	// SetConfigInterrupt has irq raised when the configuration changes.
	SetConfigInterrupt(irq *platform.Interrupt) linux.Errno
	// AckInterrupt takes back a shared interrupt, and says what for it was.
	AckInterrupt() (queue, config bool)

	// Shutdown stops the device for good: it touches memory no more.
	Shutdown()
}

// Buffer is a piece of memory that the device reads or writes.
type Buffer struct {
	Phys   uint64
	Mem    []byte
	hidden int // bytes of memory that has no address here
}

// Frames is the memory of a run of page frames, which only the device sees.
func Frames(r platform.PageRun) Buffer {
	return Buffer{Phys: r.Phys, hidden: r.Pages * platform.PageSize}
}

func (b Buffer) len() int { return len(b.Mem) + b.hidden }

// Alloc gives n bytes of zeroed memory, page-aligned, for good.
func Alloc(n int) (Buffer, linux.Errno) {
	mem, phys, errno := platform.DMA(n)
	return Buffer{Phys: phys, Mem: mem}, errno
}

// arenaSize is how much memory a device's queues get at once: it is the nucleus's
// to give, and a call of it costs more than most queues are worth.
const arenaSize = 64 << 10

// alloc is Alloc for one of the device's queues.
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

// Slice is the part of b from lo up to hi.
func (b Buffer) Slice(lo, hi int) Buffer {
	return Buffer{Phys: b.Phys + uint64(lo), Mem: b.Mem[lo:hi:hi]}
}

// Device is a device that a driver has taken.
type Device struct {
	Transport
	features uint64
	onConfig func()
	queues   []*Queue            // by order of NewQueue
	arena    Buffer              // what is left for queues to come
	shared   *platform.Interrupt // of what has none of its own
	config   *platform.Interrupt // of the configuration alone
	closed   atomic.Bool
	failed   sync.Once
}

// Open takes the device of t: resets it and agrees on the features in want
// that it offers, and on those of the queues (virtio 1.2 §3.1.1, steps 1 to
// 6). EIO: it does not do as the specification says; ENODEV: it is older than
// virtio 1.0.
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
	// Our physical addresses are the device's on every machine without an
	// IOMMU, and we program none: so its access by "the platform's" rules is
	// the same as without. Ordering is x86's in either case.
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

// Has says whether feature was agreed on.
func (d *Device) Has(feature uint64) bool { return d.features&feature == feature }

// OnConfig has fn called after each change of the configuration. It is set
// before Start. One goroutine makes the calls, which may also be the one that
// wakes who waits for queues: fn must not wait for anything.
func (d *Device) OnConfig(fn func()) { d.onConfig = fn }

// Start lets the device run (DRIVER_OK).
func (d *Device) Start() linux.Errno {
	// Listened to by every driver, as it also says that the device failed;
	// a driver that asks for nothing else does without.
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

// interrupt is a new one, or the shared one.
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

// configChanged is also how a device says that it cannot go on (virtio 1.2
// §2.1.2).
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
// says on the console what it has done, a clause that begins with "it".
func (d *Device) Fail(what string) {
	d.failed.Do(func() {
		// The console may be this device's own: its driver, which may hold
		// its locks here, must not wait for the line.
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

// Shutdown stops the device for good. Its queues are broken then, without a
// word.
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
