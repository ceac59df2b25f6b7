// Package backend is the back end of a virtual machine's network card (virtio
// 1.2 §5.1). It works on the packet queues of the card and is the link.Link that
// a network serves. Package vhostuser starts and stops the queues and passes
// notifications on. This package knows neither vhost-user nor KVM.
//
// A packet is copied once, between the buffers of the guest and those of the
// network. The driver is not trusted: if it lies, the link ends with an error
// that says how.
package backend

import (
	"fmt"
	"io"
	"sync"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
)

// MaxPairs is the largest number of queue pairs of a Link.
const MaxPairs = 64

// Link is the back end of one card. It is a [link.Link] and a vhostuser.Backend.
// Queues are numbered as in §5.1.2: the guest receives on queue 2n and transmits
// on queue 2n+1.
type Link struct {
	rings []ring

	// Each holds a token if the driver may have added buffers: to receive into,
	// or with packets to transmit.
	toReceive, toTransmit chan struct{}

	ending sync.Once
	ended  chan struct{}
	err    error // set before ended is closed

	steering steering
	turn     int     // the pair that the next ReadPackets reads first
	plain    plainer // used by WritePackets
}

// New returns a Link with the given number of queue pairs, none of them started.
func New(pairs int) (*Link, error) {
	if pairs < 1 || pairs > MaxPairs {
		return nil, fmt.Errorf("network card: %d queue pairs: 1 to %d are possible", pairs, MaxPairs)
	}
	return &Link{
		rings:      make([]ring, 2*pairs),
		toReceive:  make(chan struct{}, 1),
		toTransmit: make(chan struct{}, 1),
		ended:      make(chan struct{}),
	}, nil
}

// Features implements vhostuser.Backend.
func (l *Link) Features() uint64 {
	f := uint64(feature.Offload | feature.Mergeable | device.FeaturesOfQueues)
	if len(l.rings) > 2 {
		f |= feature.Multi
	}
	return f
}

// Queues implements vhostuser.Backend. The control queue is not among them: the
// front end handles it.
func (l *Link) Queues() int { return len(l.rings) }

// Config implements vhostuser.Backend. The front end has the configuration.
func (l *Link) Config() []byte { return nil }

// Start implements vhostuser.Backend.
func (l *Link) Start(i int, q *virtqueue.Queue, features uint64, interrupt func()) {
	r := &l.rings[i]
	r.mu.Lock()
	r.q, r.features, r.interrupt = q, features, interrupt
	r.mu.Unlock()
	l.Notify(i)
}

// Stop implements vhostuser.Backend. Each chain of the queue is then used or not
// taken.
func (l *Link) Stop(i int) {
	r := &l.rings[i]
	r.mu.Lock()
	r.q, r.interrupt = nil, nil
	r.mu.Unlock()
}

// Enable implements vhostuser.Backend. A queue is off at first. The link drops
// packets that the guest transmits on a queue that is off.
func (l *Link) Enable(i int, on bool) {
	r := &l.rings[i]
	r.mu.Lock()
	r.enabled = on
	r.mu.Unlock()
	if i%2 == 0 {
		l.steering.enable(i/2, on)
	}
	l.Notify(i)
}

// Notify implements vhostuser.Backend.
func (l *Link) Notify(i int) {
	ready := l.toReceive
	if i%2 == 1 {
		ready = l.toTransmit
	}
	select {
	case ready <- struct{}{}:
	default:
	}
}

// End implements vhostuser.Backend. ReadPackets and WritePackets then return err,
// or io.EOF if err is nil. Only the first call has an effect.
func (l *Link) End(err error) {
	l.ending.Do(func() {
		l.err = err
		if err == nil {
			l.err = io.EOF
		}
		close(l.ended)
	})
}

// Offload implements link.Link. For a driver that has not accepted offloads the
// link computes checksums and cuts large segments itself.
func (l *Link) Offload() bool { return true }

// Done implements link.Link.
func (l *Link) Done() <-chan struct{} { return l.ended }

// Close implements link.Link.
func (l *Link) Close() error {
	l.End(nil)
	return nil
}

// fail ends the link because of err, and returns the error it ended with.
func (l *Link) fail(err error) error {
	l.End(fmt.Errorf("network card: %w", err))
	return l.err
}

// ReadPackets implements link.Link. It reads what the guest transmits.
func (l *Link) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	for {
		n, err := l.transmitted(pkts, sizes)
		if err != nil {
			return 0, l.fail(err)
		}
		if n > 0 {
			return n, nil
		}
		select {
		case <-l.toTransmit:
		case <-l.ended:
			return 0, l.err
		}
	}
}

// transmitted takes the packets that all pairs have now. Each call begins with
// the next pair, so that no pair starves.
func (l *Link) transmitted(pkts []link.Packet, sizes []int) (n int, err error) {
	pairs := len(l.rings) / 2
	for i := range pairs {
		pair := (l.turn + i) % pairs
		got, err := l.rings[2*pair+1].take(pkts[n:], sizes[n:])
		if err != nil {
			return 0, err
		}
		if pairs > 1 {
			for j := range got {
				l.steering.learn(pkts[n+j], pair)
			}
		}
		n += got
	}
	l.turn = (l.turn + 1) % pairs
	return n, nil
}

// WritePackets implements link.Link. It writes what the guest receives. It waits
// while the guest has no driver.
func (l *Link) WritePackets(pkts []link.Packet) error {
	for len(pkts) > 0 {
		pair, n := l.steering.run(pkts)
		done, err := l.rings[2*pair].give(pkts[:n], &l.plain)
		if err != nil {
			return l.fail(err)
		}
		pkts = pkts[done:]
		if done > 0 {
			continue
		}
		select {
		case <-l.toReceive:
		case <-l.ended:
			return l.err
		}
	}
	return nil
}
