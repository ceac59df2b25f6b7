// Package gateway is the user-mode network. It connects one guest to the host's
// network without any privilege, as slirp and passt do. A TCP/IP stack in the
// gateway (gVisor's) terminates the guest's connections. For each one the gateway
// opens an ordinary socket of the host and copies the data.
//
// The guest sees a router with DHCP (IPv4), router advertisements (IPv6) and a DNS
// forwarder. The host sees a program that dials and listens. A [Gateway] is a
// [link.Network]: it serves a [link.Link], which carries the guest's Ethernet
// frames.
//
// The guest is not trusted. [Config] bounds the resources that it can make the
// gateway use, and no frame may crash the gateway.
//
// Because connections end at the gateway, three things differ from a real router.
// The gateway's own address stands for the host's loopback interface, if
// Config.Reach opens it. Each UDP flow has a host socket of its own, which
// receives only from its peer. The guest learns that a peer refused a connection
// or is unreachable, but not the TTL or path MTU beyond the gateway.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pith-os/pith/internal/dns"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/policy"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/qdisc/fifo"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	nicID = 1
	// queueLen is the number of packets that may wait for the guest to read them.
	// Packets beyond it are lost, as on any network.
	queueLen = 1024
	// timeWait can be short, because the link does not reorder packets and delays
	// them little.
	timeWait = 2 * time.Second
	// abortEvery is how often abortConnections looks for new endpoints.
	abortEvery = 5 * time.Millisecond
)

// HostName is the name of the host, for the guest: the gateway's address.
const HostName = "host.pith.internal"

// Rules are what a gateway knows before it has a TCP/IP stack: the addresses of its
// network, the name server, and what a guest may reach. They cost little. A confined
// process may need no more of its gateway.
type Rules struct {
	cfg    Config
	addrs  addresses
	dns    *dns.Forwarder
	policy *policy.Policy
}

// Gateway is a network for one guest at a time.
type Gateway struct {
	*Rules
	stack *stack.Stack
	nic   *endpoint

	tcp     tcpTable
	flows   flowTable
	serving sync.Mutex // held during Serve

	mu        sync.Mutex // guards the fields below
	guest     *session   // nil: Serve does not run
	published []io.Closer
	closed    bool

	publishing sync.WaitGroup // the goroutines of published ports

	// translate replaces the destination dst of the guest. Tests set it, because
	// they must not leave the loopback interface.
	translate func(dst netip.AddrPort) (to netip.AddrPort, ok bool)
}

// session is the state of one guest, from the start of Serve to its end.
type session struct {
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // the goroutines that end with ctx
}

// NewRules returns the rules of a gateway.
func NewRules(cfg Config) (*Rules, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	r := &Rules{cfg: cfg, addrs: cfg.addresses()}
	r.policy = policy.New(policy.Default(cfg.Reach, r.addrs.gateway4, r.addrs.gateway6), r.local)
	r.dns = &dns.Forwarder{Namespace: cfg.Namespace, Servers: cfg.Resolvers, MaxQueries: cfg.MaxDNS,
		Names: map[string][]netip.Addr{HostName: {r.addrs.gateway4, r.addrs.gateway6}}}
	return r, nil
}

// New returns a gateway with rules of its own.
func New(cfg Config) (*Gateway, error) {
	r, err := NewRules(cfg)
	if err != nil {
		return nil, err
	}
	return r.Gateway()
}

// Gateway returns a gateway with these rules. It opens no socket and reads no file.
func (r *Rules) Gateway() (*Gateway, error) {
	g := &Gateway{Rules: r}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	g.nic = newEndpoint(g.addrs.mac, uint32(r.cfg.MTU))
	g.nic.accept = g.accept
	if err := g.configure(); err != nil {
		g.stack.Destroy()
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.tcp.init(g)
	g.flows.init(g)
	for proto, h := range map[tcpip.TransportProtocolNumber]func(stack.TransportEndpointID, *stack.PacketBuffer) bool{
		tcp.ProtocolNumber:   g.tcp.handle,
		udp.ProtocolNumber:   g.handleUDP,
		icmp.ProtocolNumber4: g.handleEcho,
		icmp.ProtocolNumber6: g.handleEcho,
	} {
		g.stack.SetTransportProtocolHandler(proto, h)
	}
	return g, nil
}

// configure sets the interface, addresses, routes and options of the stack. The
// interface is promiscuous and spoofing: it accepts packets for any address and
// answers from that address.
func (g *Gateway) configure() error {
	s := g.stack
	sack := tcpip.TCPSACKEnabled(true)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	wait := tcpip.TCPTimeWaitTimeoutOption(timeWait)
	linger := tcpip.TCPLingerTimeoutOption(10 * time.Second)
	for _, opt := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &wait, &linger} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return fmt.Errorf("set %T: %s", opt, err)
		}
	}
	qdisc := fifo.New(g.nic, 1, queueLen)
	if err := s.CreateNICWithOptions(nicID, g.nic, stack.NICOptions{Name: "guest", QDisc: qdisc}); err != nil {
		qdisc.Close()
		return fmt.Errorf("create interface: %s", err)
	}
	for _, a := range g.addrs.own {
		addr := tcpip.ProtocolAddress{
			Protocol:          protocolOf(a.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: toStack(a.Addr()), PrefixLen: a.Bits()},
		}
		if err := s.AddProtocolAddress(nicID, addr, stack.AddressProperties{}); err != nil {
			return fmt.Errorf("add address %s: %s", a, err)
		}
	}
	if err := s.SetPromiscuousMode(nicID, true); err != nil {
		return fmt.Errorf("set promiscuous mode: %s", err)
	}
	if err := s.SetSpoofing(nicID, true); err != nil {
		return fmt.Errorf("set spoofing: %s", err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: subnet(g.cfg.Prefix4), NIC: nicID},
		{Destination: subnet(g.cfg.Prefix6), NIC: nicID},
		{Destination: header.IPv6LinkLocalPrefix.Subnet(), NIC: nicID},
		{Destination: subnet(netip.MustParsePrefix("ff00::/8")), NIC: nicID},
	})
	return nil
}

// Serve implements [link.Network]. It carries the guest's packets over l until
// ctx ends or the guest closes the link, and closes l in any case. Then it resets
// the guest's connections. Published ports stay, and Serve can be called for
// another guest. It returns nil unless the link failed.
func (g *Gateway) Serve(ctx context.Context, l link.Link) error {
	if !g.serving.TryLock() {
		return errors.Join(errors.New("gateway: it serves another guest"), l.Close())
	}
	defer g.serving.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{ctx: ctx, cancel: cancel}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return errors.Join(net.ErrClosed, l.Close())
	}
	g.nic.noOffload.Store(!l.Offload())
	g.nic.link.Store(&l)
	g.guest = s
	s.work.Add(1) // keeps the count above zero until begin can add no more
	g.mu.Unlock()

	var closing sync.Once
	var closeErr error
	closeLink := func() { closing.Do(func() { closeErr = l.Close() }) }
	unhook := context.AfterFunc(ctx, closeLink)
	defer unhook()

	s.work.Go(func() { g.advertise(ctx) })
	err := g.nic.receive(l)
	interrupted := ctx.Err() != nil

	cancel()
	closeLink()
	g.mu.Lock()
	g.guest = nil
	g.mu.Unlock()
	g.nic.link.Store(nil)
	g.flows.closeAll()
	s.work.Done()
	g.abortConnections(s)
	for _, proto := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		if e := g.stack.ClearNeighbors(nicID, proto); e != nil {
			err = errors.Join(err, fmt.Errorf("forget the guest's address: %s", e))
		}
	}
	if interrupted || errors.Is(err, io.EOF) {
		return closeErr
	}
	return fmt.Errorf("gateway: %w", errors.Join(err, closeErr))
}

// abortConnections resets the connections of a guest that is gone, and returns when
// the session's goroutines have ended. A handshake cannot be cancelled, only the
// endpoint that it makes a moment later. So abortConnections looks for new
// endpoints until the goroutines have ended.
func (g *Gateway) abortConnections(s *session) {
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	again := time.NewTicker(abortEvery)
	defer again.Stop()
	for ended := false; ; {
		for _, e := range g.stack.RegisteredEndpoints() {
			e.Abort()
		}
		for _, e := range g.stack.CleanupEndpoints() {
			e.Abort()
		}
		if ended {
			return
		}
		select {
		case <-done:
			ended = true
		case <-again.C:
		}
	}
}

// begin runs work for the current guest in a new goroutine. work must return soon
// after its context ends. begin reports false if there is no guest.
func (g *Gateway) begin(work func(context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.guest
	if s == nil {
		return false
	}
	s.work.Go(func() { work(s.ctx) })
	return true
}

// Close ends Serve, the published ports and all connections.
func (g *Gateway) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	published := g.published
	g.published = nil
	if g.guest != nil {
		g.guest.cancel()
	}
	g.mu.Unlock()

	var errs []error
	for _, p := range published {
		errs = append(errs, p.Close())
	}
	g.publishing.Wait()
	g.serving.Lock() // waits until Serve has returned; a new Serve fails
	defer g.serving.Unlock()
	g.stack.Destroy()
	return errors.Join(errs...)
}
