package mmio

import (
	"sync/atomic"

	"github.com/pith-os/pith/internal/device"
)

// Status bits (§2.1).
const (
	statusAcknowledge = 1
	statusDriver      = 2
	statusDriverOK    = 4
	statusFeaturesOK  = 8
	statusNeedsReset  = 64
	statusFailed      = 128
)

// configChanged is the bit of InterruptStatus for a configuration change
// (§4.2.2).
const configChanged = 2

// setStatus handles a write to Status. 0 resets the device. Any other value
// only adds bits (§2.1.1), and only those that are valid in the current state.
func (t *Transport) setStatus(v uint32) {
	if v == 0 {
		t.reset()
		return
	}
	t.status |= v & (statusAcknowledge | statusDriver | statusFailed)
	const begun = statusAcknowledge | statusDriver
	if v&statusFeaturesOK != 0 && t.status&begun == begun && t.acceptable() {
		t.status |= statusFeaturesOK
	}
	if v&statusDriverOK != 0 && t.status&(statusFeaturesOK|statusDriverOK|statusFailed) == statusFeaturesOK {
		t.status |= statusDriverOK
		t.start()
	}
}

// acceptable reports whether the device works with the features that the driver
// accepted.
func (t *Transport) acceptable() bool {
	return t.accepted&^t.offers == 0 && t.accepted&device.FeatureVersion1 != 0
}

// start starts the device, unless it has failed before.
func (t *Transport) start() {
	b := t.bus
	if b.needsReset.Load() != 0 {
		b.interrupt() // the first one came before DRIVER_OK, when the driver need not handle it (§2.1.2)
		return
	}
	queues := make([]device.Queue, len(t.queues))
	for i := range t.queues {
		queues[i] = device.Queue{Kick: t.kicks[i], Call: t.calls[i]}
		if q := &t.queues[i]; q.ready {
			queues[i].Layout = q.layout
		}
		t.kicks[i].Resume() // undo the Stop of the last reset
	}
	if err := t.dev.Start(t.accepted, queues, b); err != nil {
		b.Fail(err)
		return
	}
	t.started = true
}

// reset handles a write of 0 to Status (§2.4).
func (t *Transport) reset() {
	if t.started {
		t.dev.Stop()
		t.started = false
	}
	t.bus = &bus{t: t}
	t.status, t.accepted = 0, 0
	t.queueSel, t.offeredSel, t.acceptedSel, t.changeMessageAddr = 0, 0, 0, 0
	for i, q := range t.queues {
		t.queues[i] = queue{max: q.max}
	}
}

// bus implements device.Bus between two resets. After the next reset its
// methods have no effect on the registers.
type bus struct {
	t          *Transport
	needsReset atomic.Uint32 // statusNeedsReset or 0
	pending    atomic.Uint32 // the InterruptStatus register
}

func (b *bus) ConfigChanged() {
	b.t.generation.Add(1)
	b.interrupt()
}

// Fail logs only the first failure in the life of the transport: a driver can
// cause failures without end.
func (b *bus) Fail(err error) {
	b.needsReset.Store(statusNeedsReset)
	b.interrupt()
	if !b.t.logged.Swap(true) {
		b.t.log("virtio device %d needs a reset: %v", b.t.id, err)
	}
}

// interrupt raises the configuration change interrupt. A failure raises it too.
func (b *bus) interrupt() {
	b.pending.Or(configChanged)
	b.t.change.Signal()
}
