// Package mmio implements the device side of the virtio transport over
// memory-mapped registers (virtio 1.2 §4.2). It translates register accesses of
// the guest's driver to calls of a [device.Device]. The monitor makes one
// Transport for each device, and calls it for accesses of its vCPUs. Interrupts
// are message-signalled, by the extension that package boot describes.
//
// The driver is not trusted. Writes out of order or to unknown registers have
// no effect. Reads of unknown registers return 0.
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

// Size is the size of a device's register window, in bytes.
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
	// QueueNotify is the doorbell register. The driver writes the number of a
	// queue to it. The ioeventfds are for this register.
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

// Deferrable lists ranges of registers: the first offset, and the offset behind
// the last. Writes to them may be delayed until the driver accesses another
// register. Most registers that set up a queue are among them.
var Deferrable = [][2]uint64{{deviceFeatures, QueueNotify}, {queueDescLow, boot.MMIOMessageData + 4}}

const (
	magicValue = 0x74726976 // "virt"
	modern     = 2          // the version register; 1 is legacy
)

// Router connects events with interrupts of the guest.
type Router interface {
	// Route makes call raise the message-signalled interrupt (addr, data) in the
	// guest. It replaces the previous route of call.
	Route(call *event.Event, addr uint64, data uint32) error
}

// Transport is the registers of a device. Any goroutine may call its methods.
//
// The lock mu is held during each access, and so during each call of the
// device. While one vCPU resets the device, the accesses of other vCPUs wait.
// The methods of the device's bus take no lock, because Stop may wait for a
// goroutine that is calling one of them.
type Transport struct {
	router Router
	log    func(format string, args ...any)
	id     uint32
	offers uint64 // offered features

	kicks  []*event.Event // per queue
	calls  []*event.Event // per queue
	change *event.Event   // signalled when the configuration changes

	mu                sync.Mutex // held during each access except a notification
	dev               device.Device
	status            uint32 // without statusNeedsReset, which is in bus
	offeredSel        uint32
	acceptedSel       uint32
	accepted          uint64 // features that the driver has accepted so far
	queueSel          uint32
	queues            []queue
	changeMessageAddr uint64
	seen              []byte // the configuration as last read
	bus               *bus   // replaced by each reset; a started device has it
	started           bool
	closed            bool

	generation atomic.Uint32 // of the configuration
	logged     atomic.Bool
}

// queue is a queue as the driver sets it up.
type queue struct {
	max         int // maximum size, in entries
	layout      virtqueue.Layout
	ready       bool
	messageAddr uint64
}

// New returns a transport for d, which must not be started. The transport logs
// the first failure of the device with log, and no later one.
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

// Queues returns the number of queues.
func (t *Transport) Queues() int { return len(t.kicks) }

// Kick returns the event of queue i. A write of i to QueueNotify signals it. An
// ioeventfd can signal it without a call of Write.
func (t *Transport) Kick(i int) *event.Event { return t.kicks[i] }

// Acts reports whether a write to the register at off can start or stop the
// device, or change an interrupt of a started device. All other writes only
// change state in this process or signal an event.
func (t *Transport) Acts(off uint64) bool {
	if off == boot.MMIOMessageData {
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.started
	}
	return off == deviceStatus || off >= configSpace
}

// Close stops the device and closes the events. Later accesses have no effect.
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

// aligned reports whether an access of n bytes at off is valid.
func aligned(off uint64, n int) bool {
	return off < Size && (n == 1 || n == 2 || n == 4 || n == 8) && off%uint64(n) == 0
}

// Read handles a load at offset off and stores the value in p.
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

// Write handles a store of p at offset off.
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

// configuration returns the current configuration. If it differs from the last
// one that was read, the generation changes (§2.5.3): the device may change the
// configuration at any time, and call ConfigChanged later.
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
		return 0xffffffff // §4.2.2: the region does not exist
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

// selected returns the queue that QueueSel names, or nil if it does not exist.
func (t *Transport) selected() *queue {
	if uint64(t.queueSel) < uint64(len(t.queues)) {
		return &t.queues[t.queueSel]
	}
	return nil
}

// set handles a write to a register of the queue. The other registers of a
// queue that is ready do not change (§4.2.2.2). A queue of invalid size does
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

// setMessage handles a write to a register of the interrupt message that
// QueueSel names.
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
		t.bus.Fail(fmt.Errorf("cannot route the interrupt with message data %#x at address %#x: %w", v, *addr, err))
	}
}

// half returns half n of v: 0 is the low half, 1 the high half. It returns 0
// for other n.
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
