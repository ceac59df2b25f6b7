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

// Interfaces: their index, as on Linux, is the stack's number.
const (
	loopbackNIC  = tcpip.NICID(1)
	loopbackName = "lo"
	etherNIC     = tcpip.NICID(2)
	etherName    = "eth0"
)

// TCP buffers grow by themselves up to tcpBufferMax bytes, and start with
// tcpBufferDefault.
const (
	tcpBufferMin     = 4 << 10
	tcpBufferDefault = 256 << 10
	tcpBufferMax     = 4 << 20
)

// network is the instance's network stack, made at the first call: a program
// that never opens a socket does not wait for one.
var network = sync.OnceValue(func() *stack.Stack {
	cfg := platform.Config().Net
	s, routes := newStack()
	if cfg != nil {
		// Without its device an instance is as one without a network: the
		// program gets ENETUNREACH, which it knows how to tell.
		if host, errno := platform.OpenHost(boot.FDPackets); errno == 0 {
			routes = append(routes, addEther(s, newLink(host, cfg), cfg)...)
		}
	}
	s.SetRouteTable(routes)
	return s
})

// newStack makes a stack with the loopback interface and returns its routes.
func newStack() (*stack.Stack, []tcpip.Route) {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocol,
			ipv6.NewProtocolWithOptions(ipv6.Options{
				// Addresses are given by the monitor, which has made sure
				// of them: they are of use at once.
				DADConfigs: stack.DADConfigurations{DupAddrDetectTransmits: 0},
			}),
			arp.NewProtocol,
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

// datagramBufferMax is what a program can have of a socket that is not TCP's.
const datagramBufferMax = 16 << 20

// addEther adds the network device with its addresses and returns its routes.
func addEther(s *stack.Stack, l *link, cfg *boot.Net) []tcpip.Route {
	must(s.CreateNICWithOptions(etherNIC, l, stack.NICOptions{Name: etherName, QDisc: l, DeliverLinkPackets: true}))
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
	linkLocal := header.LinkLocalAddr(l.addr).As16()
	return append(routes, addAddress(s, etherNIC, netip.PrefixFrom(netip.AddrFrom16(linkLocal), 64)))
}

// addAddress gives an interface an address and returns the route to its
// subnet.
func addAddress(s *stack.Stack, nic tcpip.NICID, prefix netip.Prefix) tcpip.Route {
	proto := ipv4.ProtocolNumber
	if prefix.Addr().Is6() {
		proto = ipv6.ProtocolNumber
	}
	addr := tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(prefix.Addr().AsSlice()), PrefixLen: prefix.Bits()}
	must(s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: proto, AddressWithPrefix: addr}, stack.AddressProperties{}))
	return tcpip.Route{Destination: addr.Subnet(), NIC: nic}
}

// must panics for an error that only a mistake in this package can make.
func must(err tcpip.Error) {
	if err != nil {
		panic("inet: " + err.String())
	}
}
