package gateway

import (
	"context"
	"errors"
	"math/bits"
	"net"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// dialTimeout is about what Linux itself takes to give up a connect.
	dialTimeout = 2 * time.Minute

	// A connection's buffers begin with startBuffer bytes each way and follow
	// its speed up to maxBuffer; but the guest decides how full they are, so
	// of many connections each may grow to its share of totalBuffer only.
	minBuffer, startBuffer, maxBuffer = 32 << 10, 256 << 10, 4 << 20
	totalBuffer                       = 256 << 20
)

// tcpTable admits the guest's TCP connections. A connection is answered only
// once the host's is there, so that the guest sees the true outcome.
type tcpTable struct {
	g         *Gateway
	forwarder *tcp.Forwarder
	dialer    net.Dialer

	mu    sync.Mutex
	count int // connections, both ways
	// dialing holds those whose outcome is open, with what an ICMP error needs.
	dialing map[stack.TransportEndpointID]*quote
}

func (t *tcpTable) init(g *Gateway) {
	t.g = g
	t.dialer.Timeout = dialTimeout
	t.dialing = make(map[stack.TransportEndpointID]*quote)
	t.sizeBuffersLocked()
	// The table's own limit comes first.
	t.forwarder = tcp.NewForwarder(g.stack, startBuffer, g.cfg.MaxTCP+1, func(r *tcp.ForwarderRequest) {
		id := r.ID()
		if !g.begin(func(ctx context.Context) { t.forward(ctx, r, id) }) {
			r.Complete(false)
			t.settle(id)
			t.release()
		}
	})
}

// acquire takes a place for a connection, release gives it back.
func (t *tcpTable) acquire() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count >= t.g.cfg.MaxTCP {
		return false
	}
	t.addLocked(1)
	return true
}

func (t *tcpTable) release() {
	t.mu.Lock()
	t.addLocked(-1)
	t.mu.Unlock()
}

func (t *tcpTable) addLocked(n int) {
	before := bits.Len(uint(t.count))
	t.count += n
	if bits.Len(uint(t.count)) != before {
		t.sizeBuffersLocked()
	}
}

// sizeBuffersLocked tells the stack how far buffers may grow, at each doubling
// of the number of connections.
func (t *tcpTable) sizeBuffersLocked() {
	most := max(minBuffer, min(maxBuffer, totalBuffer>>bits.Len(uint(t.count))))
	start := min(startBuffer, most)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: start, Max: most}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: start, Max: most}
	for _, opt := range []tcpip.SettableTransportProtocolOption{&send, &receive} {
		if err := t.g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			panic(err.String()) // only for a range that is none
		}
	}
}

// settle forgets a connection attempt. Until then further SYNs are ignored.
func (t *tcpTable) settle(id stack.TransportEndpointID) {
	t.mu.Lock()
	delete(t.dialing, id)
	t.mu.Unlock()
}

// handle takes segments that belong to no connection. What is no SYN is
// answered with RST by the stack; a SYN beyond the limit is ignored, as when a
// listener's queue is full.
func (t *tcpTable) handle(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	flags := header.TCP(pkt.TransportHeader().Slice()).Flags()
	if !flags.Contains(header.TCPFlagSyn) || flags.Intersects(header.TCPFlagAck|header.TCPFlagRst|header.TCPFlagFin) {
		return false
	}
	q := quoteOf(pkt)
	t.mu.Lock()
	if t.dialing[id] != nil || t.count >= t.g.cfg.MaxTCP {
		t.mu.Unlock()
		return true
	}
	t.addLocked(1)
	t.dialing[id] = &q
	t.mu.Unlock()
	if !t.forwarder.HandlePacket(id, pkt) {
		t.settle(id)
		t.release()
		return false
	}
	return true
}

// forward carries one connection of the guest from its SYN to its end.
func (t *tcpTable) forward(ctx context.Context, r *tcp.ForwarderRequest, id stack.TransportEndpointID) {
	defer t.release()
	dst := netip.AddrPortFrom(fromStack(id.LocalAddress), id.LocalPort)
	if t.g.addrs.isDNS(dst.Addr()) && dst.Port() == dnsPort {
		if ep, wq := t.answer(r, id); ep != nil {
			t.g.dns.serveTCP(ctx, gonet.NewTCPConn(wq, ep))
		}
		return
	}
	conn, v := t.dial(ctx, dst)
	if v != allow {
		t.decline(r, id, v)
		return
	}
	ep, wq := t.answer(r, id)
	if ep == nil {
		reset(conn)
		return
	}
	t.g.relay(ctx, ep, wq, conn)
}

func (t *tcpTable) dial(ctx context.Context, dst netip.AddrPort) (*net.TCPConn, verdict) {
	to, v := t.g.target(dst)
	if v != allow {
		return nil, v
	}
	conn, err := t.dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, verdictOf(err)
	}
	return conn.(*net.TCPConn), allow
}

// answer completes the handshake with the guest. The endpoint is nil when the
// guest gave up.
func (t *tcpTable) answer(r *tcp.ForwarderRequest, id stack.TransportEndpointID) (tcpip.Endpoint, *waiter.Queue) {
	defer t.settle(id)
	wq := new(waiter.Queue)
	ep, err := r.CreateEndpoint(wq)
	r.Complete(false)
	if err != nil {
		return nil, nil
	}
	return ep, wq
}

// decline tells the guest that there is no connection.
func (t *tcpTable) decline(r *tcp.ForwarderRequest, id stack.TransportEndpointID, v verdict) {
	t.mu.Lock()
	q := t.dialing[id]
	t.mu.Unlock()
	if v != refuse && v != drop {
		t.g.rejectLater(q, v)
	}
	r.Complete(v == refuse)
	t.settle(id)
}

// connect opens a connection from src, which need not be the gateway's own
// address, to a port of the guest.
func (g *Gateway) connect(ctx context.Context, src, dst netip.AddrPort) (tcpip.Endpoint, *waiter.Queue, error) {
	wq := new(waiter.Queue)
	ep, terr := g.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(dst.Addr()), wq)
	if terr != nil {
		return nil, nil, errors.New(terr.String())
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)

	from := tcpip.FullAddress{NIC: nicID, Addr: toStack(src.Addr()), Port: src.Port()}
	terr = ep.Bind(from)
	if _, taken := terr.(*tcpip.ErrPortInUse); taken {
		from.Port = 0
		terr = ep.Bind(from)
	}
	if terr == nil {
		terr = ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: toStack(dst.Addr()), Port: dst.Port()})
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ready:
			terr = ep.LastError()
		case <-ctx.Done():
			terr = &tcpip.ErrAborted{}
		}
	}
	if terr != nil {
		ep.Abort()
		return nil, nil, errors.New(terr.String())
	}
	return ep, wq, nil
}
