package inet

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/gateway"
	packetlink "github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/policy"
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/inet/dhcp"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"golang.org/x/sys/unix"
)

// served returns the device of an instance whose other end is a gateway.
func served(t *testing.T) device {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	l, err := packetlink.NewSocket(fds[1])
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l)
	h, errno := platform.OpenHost(fds[0])
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(func() {
		if err := unix.Close(fds[0]); err != nil {
			t.Error(err)
		}
	})
	return &gatewaySocket{host: h}
}

// serve runs a gateway on l.
func serve(t *testing.T, l packetlink.Link) {
	t.Helper()
	g, err := gateway.New(gateway.Config{MTU: 1400, Reach: policy.Options{HostLoopback: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- g.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

const guestMAC = tcpip.LinkAddress("\x52\x54\x00\x12\x34\x56")

// configured returns an instance whose device is configured by the network.
func configured(t *testing.T, dev device, limit time.Duration) *autoconf {
	t.Helper()
	a := newAutoconf(newLink(dev, guestMAC, 1500, true), limit)
	t.Cleanup(a.stack.Close)
	return a
}

// opens waits until a gate opens.
func opens(t *testing.T, what string, g *gate) {
	t.Helper()
	select {
	case <-g.open:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: the gate did not open in 20 seconds", what)
	}
}

func addressesOf(a *autoconf) (all []string) {
	for _, p := range a.stack.NICInfo()[etherNIC].ProtocolAddresses {
		all = append(all, p.AddressWithPrefix.String())
	}
	slices.Sort(all)
	return all
}

func TestTheNetworkConfiguresTheDevice(t *testing.T) {
	a := configured(t, served(t), addressTimeout)
	opens(t, "IPv4", &a.ready4)
	opens(t, "IPv6", &a.ready6)
	opens(t, "any address", &a.ready)
	opens(t, "name servers", &a.named)
	want := []string{"10.0.2.15/24", "fd00:7069:7468:0:5054:ff:fe12:3456/64", "fe80::5054:ff:fe12:3456/64"}
	if got := addressesOf(a); !slices.Equal(got, want) {
		t.Errorf("addresses %v, want %v", got, want)
	}
	if mtu := a.link.MTU(); mtu != 1400 {
		t.Errorf("MTU is %d, want 1400 as in the lease", mtu)
	}
	if got, want := string(a.resolver()), "#PROTO: DHCP\nnameserver 10.0.2.3\nnameserver fd00:7069:7468::3\n"; got != want {
		t.Errorf("name servers %q, want %q", got, want)
	}
	throughGateway(t, a)
}

// throughGateway exchanges data with the host over several connections.
func throughGateway(t *testing.T, a *autoconf) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	port := l.Addr().(*net.TCPAddr).Port
	data := make([]byte, 4<<20)
	rand.Read(data)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, err := gonet.DialContextTCP(ctx, a.stack, full("10.0.2.2", uint16(port)), ipv4.ProtocolNumber)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			go func() { c.Write(data); c.CloseWrite() }()
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d of %d bytes came back, or the data differ: %v", len(got), len(data), err)
			}
		})
	}
	all.Wait()
}

// filter is a device that drops received frames unless keep returns true.
type filter struct {
	device
	keep func(frame []byte) bool
}

func (f filter) Receive(q int, deliver func(h boot.VnetHeader, frame [][]byte)) {
	f.device.Receive(q, func(h boot.VnetHeader, frame [][]byte) {
		if f.keep(frame[0]) {
			deliver(h, frame)
		}
	})
}

func TestANetworkWithoutRoutersDoesNotMakeProgramsWait(t *testing.T) {
	noIPv6 := func(frame []byte) bool { return header.Ethernet(frame).Type() != ipv6.ProtocolNumber }
	a := configured(t, filter{served(t), noIPv6}, addressTimeout)
	opens(t, "IPv4", &a.ready4)
	opens(t, "name servers", &a.named)
	opens(t, "IPv6", &a.ready6)
	if waited := time.Since(a.begin); waited < address6Timeout || waited >= addressTimeout {
		t.Errorf("waited %v for IPv6, want at least %v and less than %v", waited, address6Timeout, addressTimeout)
	}
	if a.hasGlobal6() {
		t.Error("the device has an IPv6 address, but no router advertised one")
	}
}

func TestAnIPv6OnlyNetworkHasNameServers(t *testing.T) {
	noIPv4 := func(frame []byte) bool { return header.Ethernet(frame).Type() == ipv6.ProtocolNumber }
	a := configured(t, filter{served(t), noIPv4}, 3*time.Second)
	opens(t, "IPv6", &a.ready6)
	opens(t, "name servers", &a.named)
	opens(t, "any address", &a.ready)
	select {
	case <-a.ready4.open:
		t.Error("the IPv4 gate opened before the timeout")
	default:
	}
	if got := string(a.resolver()); !strings.Contains(got, "nameserver fd00:7069:7468::3\n") {
		t.Errorf("name servers %q", got)
	}
}

func TestWithoutANetworkWaitsTimeOut(t *testing.T) {
	nothing := func([]byte) bool { return false }
	a := configured(t, filter{served(t), nothing}, 100*time.Millisecond)
	for _, g := range a.gates() {
		opens(t, "the timeout", g)
	}
	if _, err := a.stack.FindRoute(0, tcpip.Address{}, full("1.1.1.1", 0).Addr, ipv4.ProtocolNumber, false); err == nil {
		t.Error("there is a route to 1.1.1.1 without a network")
	}
	if got := string(a.resolver()); got != "#PROTO: DHCP\n" {
		t.Errorf("name servers %q", got)
	}
}

func TestWaitsEndWithTheDevice(t *testing.T) {
	dev := sink{make(chan struct{})}
	a := configured(t, dev, time.Hour)
	dev.Close()
	for _, g := range a.gates() {
		opens(t, "the end of the device", g)
	}
}

func TestTheEndOfALeaseRemovesItsAddress(t *testing.T) {
	nothing := func([]byte) bool { return false }
	a := configured(t, filter{served(t), nothing}, addressTimeout)
	lease := func(addr string) *dhcp.Lease {
		return &dhcp.Lease{
			Addr: netip.MustParsePrefix(addr), MTU: 1300, Domain: "example.org", DNS: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
			Routes: []dhcp.Route{
				{To: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.1")},
				{To: netip.MustParsePrefix("192.0.2.1/32"), Gateway: netip.IPv4Unspecified()},
			},
		}
	}
	const linkLocal = "fe80::5054:ff:fe12:3456/64"
	for _, step := range []struct {
		lease  *dhcp.Lease
		addrs  []string
		mtu    uint32
		routes int
	}{
		{lease("192.0.2.15/32"), []string{"192.0.2.15/32", linkLocal}, 1300, 3},
		{lease("192.0.2.15/32"), []string{"192.0.2.15/32", linkLocal}, 1300, 3},
		{lease("192.0.2.16/32"), []string{"192.0.2.16/32", linkLocal}, 1300, 3},
		{nil, []string{linkLocal}, 1500, 0},
	} {
		a.apply(step.lease)
		if got := addressesOf(a); !slices.Equal(got, step.addrs) || a.link.MTU() != step.mtu {
			t.Errorf("addresses %v, MTU %d, want %v, %d", got, a.link.MTU(), step.addrs, step.mtu)
		}
		a.update()
		routes := a.stack.GetRouteTable()
		if n := len(routes) - len(a.base); n != step.routes {
			t.Errorf("the lease has %d routes, want %d: %v", n, step.routes, routes)
		}
	}
	a.apply(lease("192.0.2.15/32"))
	if got, want := string(a.resolver()), "#PROTO: DHCP\ndomain example.org\nnameserver 192.0.2.1\n"; got != want {
		t.Errorf("name servers %q, want %q", got, want)
	}
}

func TestNameServersFromRoutersExpire(t *testing.T) {
	nothing := func([]byte) bool { return false }
	a := configured(t, filter{served(t), nothing}, addressTimeout)
	servers := func() string { return string(bytes.TrimPrefix(a.resolver(), []byte("#PROTO: DHCP\n"))) }
	one, local := full("fd00::1", 0).Addr, full("fe80::1", 0).Addr
	a.OnRecursiveDNSServerOption(etherNIC, []tcpip.Address{one, local}, time.Hour)
	if got, want := servers(), "nameserver fd00::1\nnameserver fe80::1%eth0\n"; got != want {
		t.Errorf("resolver has %q, want %q", got, want)
	}
	a.OnRecursiveDNSServerOption(etherNIC, []tcpip.Address{one}, 0)
	a.OnRecursiveDNSServerOption(etherNIC, []tcpip.Address{local}, time.Nanosecond)
	if got := servers(); got != "" {
		t.Errorf("resolver has %q, want no name servers", got)
	}
}

func TestRoutersAreSortedByPreference(t *testing.T) {
	nothing := func([]byte) bool { return false }
	a := configured(t, filter{served(t), nothing}, addressTimeout)
	router := func(n byte) tcpip.Address { return tcpip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: n}) }
	a.OnOffLinkRouteUpdated(etherNIC, header.IPv6EmptySubnet, router(1), header.LowRoutePreference)
	a.OnOffLinkRouteUpdated(etherNIC, header.IPv6EmptySubnet, router(2), header.MediumRoutePreference)
	a.OnOffLinkRouteUpdated(etherNIC, header.IPv6EmptySubnet, router(3), header.HighRoutePreference)
	a.OnOffLinkRouteUpdated(etherNIC, header.IPv6EmptySubnet, router(2), header.MediumRoutePreference)
	a.OnOffLinkRouteInvalidated(etherNIC, header.IPv6EmptySubnet, router(3))
	a.OnOnLinkPrefixDiscovered(etherNIC, header.IPv6EmptySubnet)
	a.OnOnLinkPrefixInvalidated(etherNIC, header.IPv6EmptySubnet)
	a.update()
	var got []tcpip.Address
	for _, r := range a.stack.GetRouteTable() {
		if r.Destination == header.IPv6EmptySubnet {
			got = append(got, r.Gateway)
		}
	}
	if want := []tcpip.Address{router(2), router(1)}; !slices.Equal(got, want) {
		t.Errorf("routers %v, want %v", got, want)
	}
}

// virtioLink is a gateway's link to a virtio-net device in memory that has two
// pairs of queues.
type virtioLink struct {
	dev  *virtiotest.Device
	sent chan []byte
	end  chan struct{}
	once sync.Once
}

func newVirtioLink() *virtioLink {
	const csum, guestCsum, mac, guestTSO, hostTSO, mergeable, control, pairs = 1, 2, 1 << 5, 3 << 7, 3 << 11, 1 << 15, 1 << 17, 1 << 22
	config := append([]byte(guestMAC), 0, 0, 2, 0, 0, 0)
	l := &virtioLink{
		dev:  virtiotest.New(virtio.IDNet, csum|guestCsum|mac|guestTSO|hostTSO|mergeable|control|pairs, config, 256, 256, 256, 256, 4),
		sent: make(chan []byte), end: make(chan struct{}),
	}
	for _, q := range []int{1, 3} {
		l.dev.Queue(q).Serve(func(c *virtiotest.Chain) int {
			select {
			case l.sent <- c.Bytes():
			case <-l.end:
			}
			return 0
		})
	}
	l.dev.Queue(4).Serve(func(c *virtiotest.Chain) int { return c.Fill([]byte{0}) })
	return l
}

func (l *virtioLink) Offload() bool         { return true }
func (l *virtioLink) Done() <-chan struct{} { return nil }

func (l *virtioLink) ReadPackets(pkts []packetlink.Packet, sizes []int) (int, error) {
	select {
	case msg := <-l.sent:
		sizes[0] = len(msg)
		for _, p := range pkts[0] {
			msg = msg[copy(p, msg):]
		}
		return 1, nil
	case <-l.end:
		return 0, io.EOF
	}
}

func (l *virtioLink) WritePackets(pkts []packetlink.Packet) error {
	for _, p := range pkts {
		l.write(bytes.Join(p, nil))
	}
	return nil
}

// write spreads a message over as many buffers as it needs.
func (l *virtioLink) write(msg []byte) {
	q := l.dev.Queue(2 * (len(msg) & 1)) // either queue: the order between queues is not guaranteed
	if len(msg) > 200 {
		q = l.dev.Queue(0)
	}
	var chains []*virtiotest.Chain
	for room := 0; room < len(msg); {
		c, ok := q.Pop()
		if !ok {
			time.Sleep(100 * time.Microsecond) // a device would drop the message
			continue
		}
		chains = append(chains, c)
		room += len(c.In[0])
	}
	h := boot.ParseVnetHeader(msg)
	h.NumBuffers = uint16(len(chains))
	h.Put(msg)
	for _, c := range chains {
		n := c.Fill(msg)
		msg = msg[n:]
		q.Push(c, n)
	}
}

func (l *virtioLink) Close() error {
	l.once.Do(func() { close(l.end) })
	return nil
}

func TestTheNetworkConfiguresAVirtioDevice(t *testing.T) {
	far := newVirtioLink()
	serve(t, far)
	l, errno := openVirtio(far.dev, new(boot.Net))
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if l.addr != guestMAC || l.dev.Queues() != 2 || l.SupportedGSO() == 0 {
		t.Errorf("address %s, %d queue pairs, GSO %d; want %s, 2, nonzero", l.addr, l.dev.Queues(), l.SupportedGSO(), guestMAC)
	}
	a := newAutoconf(l, addressTimeout)
	t.Cleanup(a.stack.Close)
	opens(t, "IPv4", &a.ready4)
	opens(t, "IPv6", &a.ready6)
	throughGateway(t, a)
}

func TestABrokenVirtioDeviceEndsTheNetwork(t *testing.T) {
	far := newVirtioLink()
	serve(t, far)
	l, errno := openVirtio(far.dev, new(boot.Net))
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	a := newAutoconf(l, addressTimeout)
	t.Cleanup(a.stack.Close)
	opens(t, "IPv4", &a.ready4)
	far.dev.Queue(0).Lie(1000, 0)
	select {
	case <-l.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the link did not end in 10 seconds")
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := a.stack.FindRoute(0, tcpip.Address{}, full("10.0.2.2", 0).Addr, ipv4.ProtocolNumber, false); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("there is still a route 10 seconds after the link ended")
		}
	}
}
