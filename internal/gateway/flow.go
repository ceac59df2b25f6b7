package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// flowKey names datagrams between one port of the guest and one peer. For ICMP
// echo the guest's port is the identifier and the peer's is zero.
type flowKey struct {
	proto       tcpip.TransportProtocolNumber
	guest, peer netip.AddrPort
}

// flow is an entry of the NAT table.
type flow struct {
	key   flowKey
	table *flowTable
	// out passes a datagram of the guest on to the peer.
	out func(payload []byte) error
	// socket is the flow's own; nil for a flow of a published port, whose
	// socket all its flows share.
	socket *net.UDPConn

	used     atomic.Int64 // when a datagram last passed, as time since table.start
	sent     atomic.Bool  // by the guest
	received atomic.Bool  // by the guest

	mu      sync.RWMutex // held for reading while route is in use
	route   *stack.Route // to the guest, from the peer's address
	timer   *time.Timer
	stopped bool
}

// flowTable is the NAT table for UDP and ICMP echo. It holds at most
// Config.MaxUDP flows; then one of those not used for long makes way.
type flowTable struct {
	g     *Gateway
	start time.Time

	mu    sync.RWMutex
	flows map[flowKey]*flow
}

func (t *flowTable) init(g *Gateway) {
	t.g, t.start, t.flows = g, time.Now(), make(map[flowKey]*flow)
}

func (t *flowTable) get(k flowKey) *flow {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.flows[k]
}

// add puts f, whose key, out and socket are set, into the table. A flow of the
// same key ends. When it fails, f's socket is closed.
func (t *flowTable) add(f *flow) error {
	f.table = t
	route, terr := t.g.stack.FindRoute(nicID, toStack(f.key.peer.Addr()), toStack(f.key.guest.Addr()),
		protocolOf(f.key.guest.Addr()), false)
	if terr != nil {
		return errors.Join(errors.New(terr.String()), f.closeSocket())
	}
	f.route = route
	f.touch()
	f.mu.Lock()
	f.timer = time.AfterFunc(f.left(), f.expire)
	f.mu.Unlock()

	t.mu.Lock()
	var displaced *flow
	if old := t.flows[f.key]; old != nil {
		displaced = old
	} else if len(t.flows) >= t.g.cfg.MaxUDP {
		displaced = t.idleLocked()
		delete(t.flows, displaced.key)
	}
	t.flows[f.key] = f
	t.mu.Unlock()
	if displaced != nil {
		displaced.stop()
	}
	if !t.g.begin(f.receive) {
		t.remove(f)
		return net.ErrClosed
	}
	return nil
}

// idleLocked picks the least recently used of a few flows; iteration of a map
// begins anywhere.
func (t *flowTable) idleLocked() *flow {
	const sample = 8
	var idle *flow
	n := 0
	for _, f := range t.flows {
		if idle == nil || f.used.Load() < idle.used.Load() {
			idle = f
		}
		if n++; n == sample {
			break
		}
	}
	return idle
}

// remove ends f and takes it out of the table, unless another flow has its
// place there.
func (t *flowTable) remove(f *flow) {
	t.mu.Lock()
	if t.flows[f.key] == f {
		delete(t.flows, f.key)
	}
	t.mu.Unlock()
	f.stop()
}

func (t *flowTable) closeAll() {
	t.mu.Lock()
	all := t.flows
	t.flows = make(map[flowKey]*flow)
	t.mu.Unlock()
	for _, f := range all {
		f.stop()
	}
}

func (f *flow) touch() { f.used.Store(int64(time.Since(f.table.start))) }

// left is the time until f expires.
func (f *flow) left() time.Duration {
	timeout := f.table.g.cfg.UDPTimeout
	if !f.sent.Load() || !f.received.Load() {
		timeout /= 4
	}
	return timeout - (time.Since(f.table.start) - time.Duration(f.used.Load()))
}

// expire is called by f's timer.
func (f *flow) expire() {
	if left := f.left(); left > 0 {
		f.mu.Lock()
		if !f.stopped {
			f.timer.Reset(left)
		}
		f.mu.Unlock()
		return
	}
	f.table.remove(f)
}

// stop releases what f holds, and wakes receive.
func (f *flow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	f.stopped = true
	f.timer.Stop()
	f.route.Release()
	_ = f.closeSocket() // nothing is lost with a datagram socket
}

func (f *flow) closeSocket() error {
	if f.socket == nil {
		return nil
	}
	return f.socket.Close()
}

// receive passes the peer's datagrams on to the guest until f ends.
func (f *flow) receive(context.Context) {
	if f.socket == nil {
		return // the published port receives
	}
	defer f.table.remove(f)
	in, err := newReader(f.socket)
	if err != nil {
		return
	}
	for {
		buf, n, err := in.read()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// The kernel reports an ICMP error that arrived.
			f.table.g.rejectLater(f.quote(), verdictOf(err))
			continue
		}
		f.deliver(buf[:n])
		buffers.Put(buf)
	}
}

// forward passes a datagram of the guest on. pkt is what to quote if the host
// refuses.
func (f *flow) forward(payload []byte, pkt *stack.PacketBuffer) {
	f.touch()
	f.sent.Store(true)
	err := f.out(payload)
	if err != nil && verdictOf(err) == refuse {
		// That was the answer to an earlier datagram (connect(2) of UDP:
		// a pending error is reported once), so this one is still to be sent.
		err = f.out(payload)
	}
	if err != nil {
		f.table.g.reject(pkt, verdictOf(err))
	}
}

// deliver passes a datagram of the peer on to the guest.
func (f *flow) deliver(payload []byte) {
	f.touch()
	f.received.Store(true)
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.stopped {
		return
	}
	if f.key.proto == udpProtocol {
		sendUDP(f.route, f.key.peer.Port(), f.key.guest.Port(), payload)
	} else {
		sendEchoReply(f.route, f.key.guest.Port(), payload)
	}
}
