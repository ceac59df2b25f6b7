package gateway

import (
	"context"
	"errors"
	"math/bits"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pith-os/pith/internal/dns"
	"github.com/pith-os/pith/internal/netns"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// dialTimeout is about as long as Linux itself tries to connect.
	dialTimeout = 2 * time.Minute

	// The buffers of a connection begin with startBuffer bytes in each direction
	// and grow with its speed up to maxBuffer. The guest decides how full they
	// are. So with many connections each may only grow to its share of totalBuffer.
	minBuffer, startBuffer, maxBuffer = 32 << 10, 256 << 10, 4 << 20
	totalBuffer                       = 256 << 20
)

// tcpTable admits the guest's TCP connections. It completes the handshake with the
// guest only when the host's connection stands, so that the guest sees the true
// outcome.
type tcpTable struct {
	g         *Gateway
	forwarder *tcp.Forwarder
	dialer    net.Dialer

	mu    sync.Mutex
	count int // connections in both directions
	// dialing holds the connection attempts that are in flight, each with the
	// quote for an ICMP error.
	dialing map[stack.TransportEndpointID]*quote
}

func (t *tcpTable) init(g *Gateway) {
	t.g = g
	t.dialer.Timeout = dialTimeout
	t.dialing = make(map[stack.TransportEndpointID]*quote)
	t.sizeBuffersLocked()
	// The limit of the forwarder is never reached: that of the table is lower.
	t.forwarder = tcp.NewForwarder(g.stack, startBuffer, g.cfg.MaxTCP+1, func(r *tcp.ForwarderRequest) {
		id := r.ID()
		if !g.begin(func(ctx context.Context) { t.forward(ctx, r, id) }) {
			r.Complete(false)
			t.settle(id)
			t.release()
		}
	})
}

// acquire reserves a place for a connection. It reports false if Config.MaxTCP
// connections exist. release gives the place back.
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

// sizeBuffersLocked sets how far the stack's buffers may grow. addLocked calls it
// each time the number of connections doubles or halves.
func (t *tcpTable) sizeBuffersLocked() {
	most := max(minBuffer, min(maxBuffer, totalBuffer>>bits.Len(uint(t.count))))
	start := min(startBuffer, most)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: minBuffer, Default: start, Max: most}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: minBuffer, Default: start, Max: most}
	for _, opt := range []tcpip.SettableTransportProtocolOption{&send, &receive} {
		if err := t.g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			panic(err.String()) // cannot happen: the range is valid
		}
	}
}

// settle ends a connection attempt. Until then handle ignores further SYNs for it.
func (t *tcpTable) settle(id stack.TransportEndpointID) {
	t.mu.Lock()
	delete(t.dialing, id)
	t.mu.Unlock()
}

// handle handles a segment that belongs to no connection. If it is no SYN, the stack
// answers with RST. A SYN beyond the limit is ignored, as when a listener's queue
// is full.
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

// forward handles one connection of the guest from its SYN to its end.
func (t *tcpTable) forward(ctx context.Context, r *tcp.ForwarderRequest, id stack.TransportEndpointID) {
	defer t.release()
	dst := netip.AddrPortFrom(fromStack(id.LocalAddress), id.LocalPort)
	if t.g.addrs.isDNS(dst.Addr()) && dst.Port() == dns.Port {
		if ep, wq := t.answer(r, id); ep != nil {
			t.g.dns.ServeStream(ctx, gonet.NewTCPConn(wq, ep))
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

// dial opens the host's side of a connection of the guest to dst.
func (t *tcpTable) dial(ctx context.Context, dst netip.AddrPort) (*net.TCPConn, verdict) {
	to, v := t.g.target(dst)
	if v != allow {
		return nil, v
	}
	conn, err := netns.Make(t.g.cfg.Namespace, func() (net.Conn, error) {
		return t.dialer.DialContext(ctx, "tcp", to.String())
	})
	if err != nil {
		return nil, verdictOf(err)
	}
	return conn.(*net.TCPConn), allow
}

// answer completes the handshake with the guest. It returns nil if the guest has
// given up.
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

// decline refuses a connection of the guest because of v.
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

// connect opens a connection from src to a port of the guest. src may be any
// address.
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
