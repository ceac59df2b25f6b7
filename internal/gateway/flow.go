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

// flowKey identifies the datagrams between one port of the guest and one peer. For
// ICMP echo the guest's port is the identifier and the peer's port is zero.
type flowKey struct {
	proto       tcpip.TransportProtocolNumber
	guest, peer netip.AddrPort
}

// flow is an entry of the NAT table.
type flow struct {
	key   flowKey
	table *flowTable
	// out sends a datagram of the guest to the peer.
	out func(payload []byte) error
	// socket is the flow's own socket. It is nil for a flow of a published port:
	// all flows of the port share its socket.
	socket *net.UDPConn

	used     atomic.Int64 // time of the last datagram, in nanoseconds since table.start
	sent     atomic.Bool  // the guest has sent a datagram
	received atomic.Bool  // the guest has received a datagram

	mu      sync.RWMutex // held for reading while route is in use
	route   *stack.Route // to the guest, from the peer's address
	timer   *time.Timer
	stopped bool
}

// flowTable is the NAT table for UDP and ICMP echo. It holds at most Config.MaxUDP
// flows. A new flow then replaces one that was not used for long.
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

// add adds f, whose key, out and socket are set, to the table. It replaces a flow
// with the same key. If add fails, it closes f's socket.
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

// idleLocked returns the least recently used of a few flows. Iteration over a map
// begins at a random element.
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

// remove stops f and removes it from the table, unless another flow has replaced
// it there.
func (t *flowTable) remove(f *flow) {
	t.mu.Lock()
	if t.flows[f.key] == f {
		delete(t.flows, f.key)
	}
	t.mu.Unlock()
	f.stop()
}

// closeAll stops and removes all flows.
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

// left returns the time until f expires.
func (f *flow) left() time.Duration {
	timeout := f.table.g.cfg.UDPTimeout
	if !f.sent.Load() || !f.received.Load() {
		timeout /= 4
	}
	return timeout - (time.Since(f.table.start) - time.Duration(f.used.Load()))
}

// expire runs when f's timer fires. It removes f, or sets the timer again if f was
// used since.
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

// stop releases the resources of f and wakes receive.
func (f *flow) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return
	}
	f.stopped = true
	f.timer.Stop()
	f.route.Release()
	_ = f.closeSocket() // a datagram socket has no unsent data
}

func (f *flow) closeSocket() error {
	if f.socket == nil {
		return nil
	}
	return f.socket.Close()
}

// receive forwards the peer's datagrams to the guest until f stops.
func (f *flow) receive(context.Context) {
	if f.socket == nil {
		return // udpPort.serve receives
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
			// The kernel has received an ICMP error for the socket.
			f.table.g.rejectLater(f.quote(), verdictOf(err))
			continue
		}
		f.deliver(buf[:n])
		buffers.Put(buf)
	}
}

// forward sends a datagram of the guest to the peer. pkt is the packet that an ICMP
// error for it quotes.
func (f *flow) forward(payload []byte, pkt *stack.PacketBuffer) {
	f.touch()
	f.sent.Store(true)
	err := f.out(payload)
	if err != nil && verdictOf(err) == refuse {
		// The error belongs to an earlier datagram: the kernel reports a pending
		// error once (udp(7)). This datagram has not been sent yet.
		err = f.out(payload)
	}
	if err != nil {
		f.table.g.reject(pkt, verdictOf(err))
	}
}

// deliver sends a datagram of the peer to the guest.
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
