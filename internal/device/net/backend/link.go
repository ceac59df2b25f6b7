// Package virtionet is the device of a virtio network card (virtio 1.2 §5.1) on
// queues of package virtqueue. For package gateway it is a Link; what runs the
// guest starts and stops its queues and passes notifications on. It knows
// neither vhost-user nor KVM.
//
// A packet is copied once, between the guest's buffers and the gateway's. The
// driver is not trusted: one that lies ends the link, with an error that says
// how.
package backend

import (
	"fmt"
	"io"
	"sync"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
)

// Feature bits (§5.1.3, §6).
const (
	featureCsum      = 1 << 0
	featureGuestCsum = 1 << 1
	featureGuestTSO4 = 1 << 7
	featureGuestTSO6 = 1 << 8
	featureHostTSO4  = 1 << 11
	featureHostTSO6  = 1 << 12
	featureMrgRxbuf  = 1 << 15
	featureMQ        = 1 << 22
	featureIndirect  = 1 << 28
	featureEventIdx  = 1 << 29
	featureVersion1  = 1 << 32
)

// MaxPairs is the largest number of queue pairs of a Device.
const MaxPairs = 64

// Device is a network card. The queue numbers are those of §5.1.2: 2n receives
// and 2n+1 transmits, as the guest sees it.
type Link struct {
	rings []ring

	// Tokens for whom it may concern: the driver gave buffers to receive into,
	// or packets to transmit.
	toReceive, toTransmit chan struct{}

	ending sync.Once
	ended  chan struct{}
	err    error // why, once ended is closed

	steering steering
	turn     int     // of ReadPackets: the pair that is first
	plain    plainer // of WritePackets
}

// New is a card of so many pairs of queues, none of which is started.
func New(pairs int) (*Link, error) {
	if pairs < 1 || pairs > MaxPairs {
		return nil, fmt.Errorf("virtionet: %d queue pairs: 1 to %d are possible", pairs, MaxPairs)
	}
	return &Link{
		rings:      make([]ring, 2*pairs),
		toReceive:  make(chan struct{}, 1),
		toTransmit: make(chan struct{}, 1),
		ended:      make(chan struct{}),
	}, nil
}

// Features are the bits that the driver may accept. It must accept VERSION_1.
func (d *Link) Features() uint64 {
	f := uint64(featureCsum | featureGuestCsum | featureGuestTSO4 | featureGuestTSO6 |
		featureHostTSO4 | featureHostTSO6 | featureMrgRxbuf |
		featureIndirect | featureEventIdx | featureVersion1)
	if len(d.rings) > 2 {
		f |= featureMQ
	}
	return f
}

// Queues is the number of queues without the control queue, which is left to
// what runs the guest.
func (d *Link) Queues() int { return len(d.rings) }

// Config implements vhostuser.Backend: the front end keeps the configuration.
func (d *Link) Config() []byte { return nil }

// Start lets the device use queue i, with the features that the driver
// accepted. The device calls notify, which does not block, when the driver
// wants to be notified.
func (d *Link) Start(i int, q *virtqueue.Queue, features uint64, notify func()) {
	r := &d.rings[i]
	r.mu.Lock()
	r.q, r.features, r.notify = q, features, notify
	r.mu.Unlock()
	d.Notify(i)
}

// Stop takes queue i from the device, which does not touch it once Stop has
// returned. All chains of it are back with the driver or not taken.
func (d *Link) Stop(i int) {
	r := &d.rings[i]
	r.mu.Lock()
	r.q, r.notify = nil, nil
	r.mu.Unlock()
}

// Enable turns the delivery of packets by queue i, started or not, on or off.
// What a driver transmits while it is off is lost. At first it is off.
func (d *Link) Enable(i int, on bool) {
	r := &d.rings[i]
	r.mu.Lock()
	r.enabled = on
	r.mu.Unlock()
	if i%2 == 0 {
		d.steering.enable(i/2, on)
	}
	d.Notify(i)
}

// Kick says that the driver notified queue i. It does not block.
func (d *Link) Notify(i int) {
	ready := d.toReceive
	if i%2 == 1 {
		ready = d.toTransmit
	}
	select {
	case ready <- struct{}{}:
	default:
	}
}

// End ends the link: ReadPackets and WritePackets return err, which is nil for
// a guest that is gone in good order. Only the first End counts.
func (d *Link) End(err error) {
	d.ending.Do(func() {
		d.err = err
		if err == nil {
			d.err = io.EOF
		}
		close(d.ended)
	})
}

// Offload implements link.Link. For a driver that did not accept offloads the
// device itself computes checksums and cuts large segments.
func (d *Link) Offload() bool { return true }

// Done implements link.Link.
func (d *Link) Done() <-chan struct{} { return d.ended }

// Close implements link.Link.
func (d *Link) Close() error {
	d.End(nil)
	return nil
}

// failure ends the link for err, and returns why it ended.
func (d *Link) failure(err error) error {
	d.End(fmt.Errorf("virtionet: %w", err))
	return d.err
}

// ReadPackets implements link.Link: what the guest transmits.
func (d *Link) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	for {
		n, err := d.transmitted(pkts, sizes)
		if err != nil {
			return 0, d.failure(err)
		}
		if n > 0 {
			return n, nil
		}
		select {
		case <-d.toTransmit:
		case <-d.ended:
			return 0, d.err
		}
	}
}

// transmitted takes what is there from all pairs, another one first each time.
func (d *Link) transmitted(pkts []link.Packet, sizes []int) (n int, err error) {
	pairs := len(d.rings) / 2
	for i := range pairs {
		pair := (d.turn + i) % pairs
		got, err := d.rings[2*pair+1].take(pkts[n:], sizes[n:])
		if err != nil {
			return 0, err
		}
		if pairs > 1 {
			for j := range got {
				d.steering.learn(pkts[n+j], pair)
			}
		}
		n += got
	}
	d.turn = (d.turn + 1) % pairs
	return n, nil
}

// WritePackets implements link.Link: what the guest receives. While it has
// no driver, there is no room.
func (d *Link) WritePackets(pkts []link.Packet) error {
	for len(pkts) > 0 {
		pair, n := d.steering.run(pkts)
		done, err := d.rings[2*pair].give(pkts[:n], &d.plain)
		if err != nil {
			return d.failure(err)
		}
		pkts = pkts[done:]
		if done > 0 {
			continue
		}
		select {
		case <-d.toReceive:
		case <-d.ended:
			return d.err
		}
	}
	return nil
}
