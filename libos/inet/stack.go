package inet

import (
	"net/netip"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/platform"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Interfaces. The index that programs see is the stack's number.
const (
	loopbackNIC  = tcpip.NICID(1)
	loopbackName = "lo"
	etherNIC     = tcpip.NICID(2)
	etherName    = "eth0"
)

// Sizes of TCP buffers in bytes. They start with tcpBufferDefault and grow
// automatically up to tcpBufferMax.
const (
	tcpBufferMin     = 4 << 10
	tcpBufferDefault = 256 << 10
	tcpBufferMax     = 4 << 20
)

// network returns the instance's network stack. The first call makes it, so a
// program that never opens a socket does not wait for it.
var network = sync.OnceValue(func() *stack.Stack {
	l := openLink()
	plugged.Store(l)
	switch {
	case l == nil:
		// Without a device, the instance behaves as if it had no network: the program
		// gets ENETUNREACH, which programs know how to report.
		s, routes := newStack(ipv6.Options{})
		s.SetRouteTable(routes)
		return s
	case platform.VM() && !platform.Config().Net.Addressed():
		return configureByNetwork(l)
	default:
		s, routes := newStack(ipv6.Options{})
		s.SetRouteTable(append(routes, addEther(s, l, platform.Config().Net)...))
		return s
	}
})

// newStack makes a stack with the loopback interface, and returns the routes of
// the interface.
func newStack(v6 ipv6.Options) (*stack.Stack, []tcpip.Route) {
	// Duplicate address detection is off, so addresses are usable at once. The
	// monitor assigns unique addresses, or they are made from the Ethernet address
	// and are as unique as that.
	v6.DADConfigs = stack.DADConfigurations{DupAddrDetectTransmits: 0}
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocol, ipv6.NewProtocolWithOptions(v6), arp.NewProtocol,
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		HandleLocal:              true,
		RawFactory:               raw.EndpointFactory{},
		AllowPacketEndpointWrite: true,
	})
	sack, moderate, cubic := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.CongestionControlOption("cubic")
	for _, opt := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &cubic,
		&tcpip.TCPSendBufferSizeRangeOption{Min: tcpBufferMin, Default: tcpBufferDefault, Max: tcpBufferMax},
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: tcpBufferMin, Default: tcpBufferDefault, Max: tcpBufferMax},
	} {
		must(s.SetTransportProtocolOption(tcp.ProtocolNumber, opt))
	}
	must(s.SetOption(tcpip.SendBufferSizeOption{Min: tcpBufferMin, Default: udpBufferDefault, Max: datagramBufferMax}))
	must(s.SetOption(tcpip.ReceiveBufferSizeOption{Min: tcpBufferMin, Default: udpBufferDefault, Max: datagramBufferMax}))
	must(s.CreateNICWithOptions(loopbackNIC, loopback.New(), stack.NICOptions{Name: loopbackName, DeliverLinkPackets: true}))
	return s, []tcpip.Route{
		addAddress(s, loopbackNIC, netip.MustParsePrefix("127.0.0.1/8")),
		addAddress(s, loopbackNIC, netip.MustParsePrefix("::1/128")),
	}
}

// udpBufferDefault is net.core.wmem_default and net.core.rmem_default.
const udpBufferDefault = 212992

// datagramBufferMax is the largest buffer in bytes of a socket other than TCP.
const datagramBufferMax = 16 << 20

// addLink adds the network device with a link-local address, and returns the
// route for that.
func addLink(s *stack.Stack, l *link) []tcpip.Route {
	l.gone = func() { unplug(s, l) }
	platform.OnNetworkEnd(l.dev.Close)
	must(s.CreateNICWithOptions(etherNIC, l, stack.NICOptions{Name: etherName, QDisc: l, DeliverLinkPackets: true, Context: l}))
	linkLocal := header.LinkLocalAddr(l.addr).As16()
	return []tcpip.Route{addAddress(s, etherNIC, netip.PrefixFrom(netip.AddrFrom16(linkLocal), 64))}
}

// addEther adds the network device with its addresses, and returns their
// routes.
func addEther(s *stack.Stack, l *link, cfg *boot.Net) []tcpip.Route {
	linkLocal := addLink(s, l)
	var routes []tcpip.Route
	for _, net := range []struct {
		addr, gateway string
		all           tcpip.Subnet
	}{
		{cfg.Addr4, cfg.Gateway4, header.IPv4EmptySubnet},
		{cfg.Addr6, cfg.Gateway6, header.IPv6EmptySubnet},
	} {
		if prefix, err := netip.ParsePrefix(net.addr); err == nil {
			routes = append(routes, addAddress(s, etherNIC, prefix))
		}
		if gw, err := netip.ParseAddr(net.gateway); err == nil {
			routes = append(routes, tcpip.Route{Destination: net.all, Gateway: tcpip.AddrFromSlice(gw.AsSlice()), NIC: etherNIC})
		}
	}
	return append(routes, linkLocal...)
}

// addAddress assigns an address to an interface, and returns the route to its
// subnet.
func addAddress(s *stack.Stack, nic tcpip.NICID, prefix netip.Prefix) tcpip.Route {
	proto := ipv4.ProtocolNumber
	if prefix.Addr().Is6() {
		proto = ipv6.ProtocolNumber
	}
	addr := addressWithPrefix(prefix)
	must(s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: addr}, stack.AddressProperties{}))
	return tcpip.Route{Destination: addr.Subnet(), NIC: nic}
}

// addressWithPrefix converts prefix to the stack's form.
func addressWithPrefix(prefix netip.Prefix) tcpip.AddressWithPrefix {
	return tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(prefix.Addr().AsSlice()), PrefixLen: prefix.Bits()}
}

// must panics on an error that only a bug in this package can cause.
func must(err tcpip.Error) {
	if err != nil {
		panic("inet: " + err.String())
	}
}
