// Package mmio is virtio's transport over memory-mapped registers (virtio 1.2
// §4.2), the device's side: what a guest's driver reads and writes becomes calls
// of a [device.Device]. The monitor makes one for each device, and calls it for
// accesses of its vCPUs. It has messages for interrupts, by the extension that
// package boot describes.
//
// The driver is not trusted. What it does out of order, or to registers that
// there are not, changes nothing; what it reads then is 0.
package mmio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/boot"
)

// Size is the number of bytes of a device's registers.
const Size = 0x1000

// Registers (§4.2.2).
const (
	magic             = 0x000
	version           = 0x004
	deviceID          = 0x008
	vendorID          = 0x00c
	deviceFeatures    = 0x010
	deviceFeaturesSel = 0x014
	driverFeatures    = 0x020
	driverFeaturesSel = 0x024
	queueSel          = 0x030
	queueNumMax       = 0x034
	queueNum          = 0x038
	queueReady        = 0x044
	// QueueNotify is where a driver writes the number of a queue: the place
	// of the ioeventfds.
	QueueNotify      = 0x050
	interruptStatus  = 0x060
	interruptACK     = 0x064
	deviceStatus     = 0x070
	queueDescLow     = 0x080
	queueDescHigh    = 0x084
	queueDriverLow   = 0x090
	queueDriverHigh  = 0x094
	queueDeviceLow   = 0x0a0
	queueDeviceHigh  = 0x0a4
	shmLenLow        = 0x0b0
	shmLenHigh       = 0x0b4
	shmBaseLow       = 0x0b8
	shmBaseHigh      = 0x0bc
	configGeneration = 0x0fc
	configSpace      = 0x100
)

// Deferrable are the registers, from and to, that a write needs to have reached
// only when the driver accesses another one: most of what sets up a queue.
var Deferrable = [][2]uint64{{deviceFeatures, QueueNotify}, {queueDescLow, boot.MMIOMessageData + 4}}

const (
	magicValue = 0x74726976 // "virt"
	modern     = 2          // version; 1 is legacy
)

// Router has events raise interrupts.
type Router interface {
	// Route has call raise the message-signalled interrupt (addr, data) in
	// the guest, in place of what it raised before.
	Route(call *event.Event, addr uint64, data uint32) error
}

// Transport is a device's registers. All methods may be called by any goroutine.
//
// One lock, mu, is held through each access, and so through each call of the
// device: while one vCPU resets the device, others that access it wait. What the
// device tells (bus) takes no lock, as Stop may wait for a goroutine that is just
// telling.
type Transport struct {
	router Router
	log    func(format string, args ...any)
	id     uint32
	offers uint64 // features

	kicks  []*event.Event // by queue
	calls  []*event.Event // by queue
	change *event.Event   // of the configuration

	mu                sync.Mutex // through each access but a notification
	dev               device.Device
	status            uint32 // but statusNeedsReset
	offeredSel        uint32
	acceptedSel       uint32
	accepted          uint64 // features, so far
	queueSel          uint32
	queues            []queue
	changeMessageAddr uint64
	seen              []byte // the configuration as last read
	bus               *bus   // since the last reset; of the device, if it has been started
	started           bool
	closed            bool

	generation atomic.Uint32 // of the configuration
	logged     atomic.Bool
}

// queue is a queue as the driver sets it up.
type queue struct {
	max         int // entries
	layout      virtqueue.Layout
	ready       bool
	messageAddr uint64
}

// New is the transport of d, which has not been started. What goes wrong with
// the device is said by log, once.
func New(d device.Device, r Router, log func(format string, args ...any)) (_ *Transport, err error) {
	t := &Transport{router: r, log: log, id: d.ID(), offers: d.Features(), dev: d, seen: bytes.Clone(d.Config())}
	t.bus = &bus{t: t}
	defer func() {
		if err != nil {
			t.closeEvents()
		}
	}()
	if t.offers&device.FeatureVersion1 == 0 {
		return nil, fmt.Errorf("virtio device %d does not offer VERSION_1", t.id)
	}
	if t.change, err = event.New(); err != nil {
		return nil, err
	}
	for i, n := range d.Queues() {
		if n < 1 || n > virtqueue.MaxSize || n&(n-1) != 0 {
			return nil, fmt.Errorf("virtio device %d, queue %d: %d entries", t.id, i, n)
		}
		t.queues = append(t.queues, queue{max: n})
		for _, list := range []*[]*event.Event{&t.kicks, &t.calls} {
			e, err := event.New()
			if err != nil {
				return nil, err
			}
			*list = append(*list, e)
		}
	}
	return t, nil
}

// Queues is the number of queues.
func (t *Transport) Queues() int { return len(t.kicks) }

// Kick is the event that a write of i to QueueNotify signals, for an ioeventfd
// to do the same without Write.
func (t *Transport) Kick(i int) *event.Event { return t.kicks[i] }

// Acts says whether a write of the register at off may start or stop the device,
// or choose an interrupt of one that has been started: whatever else is written
// changes what is in memory here, or signals an event.
func (t *Transport) Acts(off uint64) bool {
	if off == boot.MMIOMessageData {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.started
	}
	return off == deviceStatus || off >= configSpace
}

// Close stops the device and closes the events. Accesses do nothing from then
// on.
func (t *Transport) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.reset()
		t.closed = true
		t.closeEvents()
	}
}

func (t *Transport) closeEvents() {
	t.change.Close()
	for _, e := range slices.Concat(t.kicks, t.calls) {
		e.Close()
	}
}

// aligned says whether an access of n bytes is one that a driver may make.
func aligned(off uint64, n int) bool {
	return off < Size && (n == 1 || n == 2 || n == 4 || n == 8) && off%uint64(n) == 0
}

// Read is a load of p at off.
func (t *Transport) Read(off uint64, p []byte) {
	clear(p)
	if !aligned(off, len(p)) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
	case off >= configSpace:
		c := t.configuration()
		copy(p, c[min(off-configSpace, uint64(len(c))):])
	case len(p) == 4: // §4.2.2.2
		binary.LittleEndian.PutUint32(p, t.load(off))
	}
}

// Write is a store of p at off.
func (t *Transport) Write(off uint64, p []byte) {
	if !aligned(off, len(p)) {
		return
	}
	if off == QueueNotify && len(p) == 4 {
		if i := binary.LittleEndian.Uint32(p); uint64(i) < uint64(len(t.kicks)) {
			t.kicks[i].Signal()
		}
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
	case off >= configSpace:
		at, room := int(off-configSpace), len(t.configuration())
		if at < room {
			t.dev.SetConfig(at, p[:min(len(p), room-at)])
		}
	case len(p) == 4:
		t.store(off, binary.LittleEndian.Uint32(p))
	}
}

// configuration is what the driver reads now. If that is not what it read
// before, the generation is another (§2.5.3): the device may change it at any
// time, and tell later.
func (t *Transport) configuration() []byte {
	if c := t.dev.Config(); !bytes.Equal(c, t.seen) {
		t.seen = append(t.seen[:0], c...)
		t.generation.Add(1)
	}
	return t.seen
}

func (t *Transport) load(off uint64) uint32 {
	switch off {
	case magic:
		return magicValue
	case version:
		return modern
	case deviceID:
		return t.id
	case vendorID:
		return boot.MMIOVendor
	case deviceFeatures:
		return half(t.offers, t.offeredSel)
	case queueNumMax:
		if q := t.selected(); q != nil {
			return uint32(q.max)
		}
	case queueReady:
		if q := t.selected(); q != nil && q.ready {
			return 1
		}
	case interruptStatus:
		return t.bus.pending.Load()
	case deviceStatus:
		return t.status | t.bus.needsReset.Load()
	case shmLenLow, shmLenHigh, shmBaseLow, shmBaseHigh:
		return 0xffffffff // §4.2.2: there is no such region
	case configGeneration:
		t.configuration()
		return t.generation.Load()
	}
	return 0
}

func (t *Transport) store(off uint64, v uint32) {
	switch off {
	case deviceFeaturesSel:
		t.offeredSel = v
	case driverFeaturesSel:
		t.acceptedSel = v
	case driverFeatures:
		if t.status&statusFeaturesOK == 0 && t.acceptedSel < 2 {
			setHalf(&t.accepted, t.acceptedSel == 1, v)
		}
	case queueSel:
		t.queueSel = v
	case interruptACK:
		t.bus.pending.And(^v)
	case deviceStatus:
		t.setStatus(v)
	case queueNum, queueReady, queueDescLow, queueDescHigh, queueDriverLow, queueDriverHigh, queueDeviceLow, queueDeviceHigh:
		if q := t.selected(); q != nil && t.status&(statusFeaturesOK|statusDriverOK) == statusFeaturesOK {
			q.set(off, v)
		}
	case boot.MMIOMessageAddr, boot.MMIOMessageAddrTop, boot.MMIOMessageData:
		t.setMessage(off, v)
	}
}

// selected is the queue that QueueSel names, nil if there is none.
func (t *Transport) selected() *queue {
	if uint64(t.queueSel) < uint64(len(t.queues)) {
		return &t.queues[t.queueSel]
	}
	return nil
}

// set is a write to a register of the queue. What was made ready does not
// change until it is no longer (§4.2.2.2); what has a size that cannot be does
// not become ready.
func (q *queue) set(off uint64, v uint32) {
	l := &q.layout
	switch {
	case off == queueReady:
		q.ready = v == 1 && l.Size > 0 && l.Size <= q.max && l.Size&(l.Size-1) == 0
	case q.ready:
	case off == queueNum:
		l.Size = int(v)
	case off == queueDescLow || off == queueDescHigh:
		setHalf(&l.Desc, off == queueDescHigh, v)
	case off == queueDriverLow || off == queueDriverHigh:
		setHalf(&l.Driver, off == queueDriverHigh, v)
	case off == queueDeviceLow || off == queueDeviceHigh:
		setHalf(&l.Device, off == queueDeviceHigh, v)
	}
}

// setMessage is a write to a register of the message that QueueSel names.
func (t *Transport) setMessage(off uint64, v uint32) {
	addr, call := &t.changeMessageAddr, t.change
	if q := t.selected(); q != nil {
		addr, call = &q.messageAddr, t.calls[t.queueSel]
	} else if t.queueSel != boot.MMIOConfigSel {
		return
	}
	if off != boot.MMIOMessageData {
		setHalf(addr, off == boot.MMIOMessageAddrTop, v)
		return
	}
	if err := t.router.Route(call, *addr, v); err != nil {
		t.bus.Fail(fmt.Errorf("the interrupt by %#x at %#x: %w", v, *addr, err))
	}
}

// half is one half of v, the high one where n is 1; there are no others.
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
