package gateway

import (
	"context"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/link"

	"golang.org/x/sys/unix"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/qdisc/fifo"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// guest is a second stack in this process, at the other end of a gateway's link.
type guest struct {
	stack *stack.Stack
	nic   *endpoint
}

// newGuest starts a gateway and a guest with the static configuration of
// Gateway.Guest. Both end with the test and must leave nothing behind.
func newGuest(t testing.TB, cfg Config) (*Gateway, *guest) {
	t.Helper()
	return newGuestOver(t, cfg, true)
}

// newGuestOver is newGuest over a link with or without offload.
func newGuestOver(t testing.TB, cfg Config, offload bool) (*Gateway, *guest) {
	t.Helper()
	checkLeaks(t)
	cfg.Reach.HostLoopback = true // there are the tests' servers
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return g, startGuest(t, g, offload)
}

// plainLink is a link without offload.
type plainLink struct{ link.Link }

func (plainLink) Offload() bool { return false }

// startGuest starts a guest that g serves over a link with or without offload.
func startGuest(t testing.TB, g *Gateway, offload bool) *guest {
	t.Helper()
	host, far := linkPair(t)
	if !offload {
		host = plainLink{host}
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx, host) }()

	v := &guest{stack: newGuestStack()}
	mac, err := net.ParseMAC(g.Guest().MAC)
	if err != nil {
		t.Fatal(err)
	}
	v.nic = newEndpoint(tcpip.LinkAddress(mac), uint32(g.cfg.MTU))
	v.nic.noOffload.Store(!offload)
	v.nic.link.Store(&far)
	if err := v.stack.CreateNICWithOptions(nicID, v.nic, stack.NICOptions{QDisc: fifo.New(v.nic, 1, queueLen)}); err != nil {
		t.Fatal(err)
	}
	v.configure(t, g)
	eventually(t, "the gateway serves", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.guest != nil
	})
	received := make(chan error, 1)
	go func() { received <- v.nic.receive(far) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		<-received
		v.nic.link.Store(nil)
		v.stack.Destroy()
		if err := far.Close(); err != nil {
			t.Errorf("close the guest's link: %v", err)
		}
	})
	return v
}

func newGuestStack() *stack.Stack {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol, ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	sack := tcpip.TCPSACKEnabled(true)
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	s.SetTransportProtocolOption(tcp.ProtocolNumber, &moderate)
	return s
}

func (v *guest) configure(t testing.TB, g *Gateway) {
	t.Helper()
	n := g.Guest()
	for _, a := range []string{n.Addr4, n.Addr6} {
		p := netip.MustParsePrefix(a)
		addr := tcpip.ProtocolAddress{
			Protocol:          protocolOf(p.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: toStack(p.Addr()), PrefixLen: p.Bits()},
		}
		if err := v.stack.AddProtocolAddress(nicID, addr, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	v.stack.SetRouteTable([]tcpip.Route{
		{Destination: subnet(g.cfg.Prefix4), NIC: nicID},
		{Destination: subnet(g.cfg.Prefix6), NIC: nicID},
		{Destination: header.IPv4EmptySubnet, Gateway: toStack(netip.MustParseAddr(n.Gateway4)), NIC: nicID},
		{Destination: header.IPv6EmptySubnet, Gateway: toStack(netip.MustParseAddr(n.Gateway6)), NIC: nicID},
	})
}

// linkPair returns two connected links.
func linkPair(t testing.TB) (a, b link.Link) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, end := range []*link.Link{&a, &b} {
		if *end, err = link.NewSocket(fds[i]); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

// checkLeaks fails the test if, after its other cleanups, goroutines of this package
// or of the stack remain, or more descriptors are open than now.
func checkLeaks(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // makes the runtime open its own descriptors
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	before := descriptors(t)
	t.Cleanup(func() {
		eventually(t, "no more descriptors than before", func() bool { return descriptors(t) <= before })
		var left []string
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			buf := make([]byte, 1<<20)
			left = left[:0]
			for s := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if !strings.Contains(s, "checkLeaks") && !strings.Contains(s, ").Run(") &&
					(strings.Contains(s, "internal/gateway.") || strings.Contains(s, "gvisor.dev/")) {
					left = append(left, s)
				}
			}
			if len(left) == 0 {
				return
			}
		}
		t.Errorf("%d goroutines remain:\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

func descriptors(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// dial connects the guest to an address.
func (v *guest) dial(addr netip.AddrPort) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return gonet.DialContextTCP(ctx, v.stack, full(addr), protocolOf(addr.Addr()))
}

func (v *guest) mustDial(t testing.TB, addr netip.AddrPort) *gonet.TCPConn {
	t.Helper()
	c, err := v.dial(addr)
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialUDP returns a connected UDP socket of the guest. port may be zero.
func (v *guest) dialUDP(t testing.TB, port uint16, addr netip.AddrPort) *gonet.UDPConn {
	t.Helper()
	remote := full(addr)
	c, err := gonet.DialUDP(v.stack, &tcpip.FullAddress{Port: port}, &remote, protocolOf(addr.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// dialEndpoint is mustDial for a test that needs the endpoint itself.
func (v *guest) dialEndpoint(t testing.TB, addr netip.AddrPort) (tcpip.Endpoint, *waiter.Queue) {
	t.Helper()
	wq := new(waiter.Queue)
	ep, err := v.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(addr.Addr()), wq)
	if err != nil {
		t.Fatal(err)
	}
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if _, started := ep.Connect(full(addr)).(*tcpip.ErrConnectStarted); !started {
		t.Fatal("the connection did not start")
	}
	<-ready
	t.Cleanup(ep.Close)
	return ep, wq
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: toStack(a.Addr()), Port: a.Port()}
}

// listenHost returns a listener on the host's loopback interface, and the address
// that the guest reaches it at.
func listenHost(t testing.TB, g *Gateway, v6 bool) (net.Listener, netip.AddrPort) {
	t.Helper()
	addr, gw := "127.0.0.1:0", g.addrs.gateway4
	if v6 {
		addr, gw = "[::1]:0", g.addrs.gateway6
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		if v6 {
			t.Skip("no IPv6 on this host's loopback interface:", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, netip.AddrPortFrom(gw, uint16(l.Addr().(*net.TCPAddr).Port))
}
