package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/policy"
	"github.com/pith-os/pith/libos/boot"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// Config describes the guest's network and limits what the guest may use of the
// host. Each zero field has the default that its comment gives.
type Config struct {
	// Prefix4 and Prefix6 are the guest's networks. The defaults are 10.0.2.0/24,
	// as in QEMU's user network, and fd00:7069:7468::/64. In both networks the
	// gateway has host number 2, the name server 3 and the guest 15.
	Prefix4, Prefix6 netip.Prefix
	// MAC is the guest's Ethernet address, by default 52:54:00:12:34:56.
	MAC net.HardwareAddr
	// MTU is that of the link in bytes, by default 1500. With segmentation offload
	// a larger one only helps UDP.
	MTU int

	// Namespace is the network namespace in which the gateway makes its sockets.
	// nil: the caller's. Each connection that is being made there holds a thread.
	Namespace *netns.Namespace

	// Resolvers are the name servers that get the guest's queries. nil: those of
	// the host's /etc/resolv.conf. If there are none at all, the host's own
	// resolver answers, which reads /etc/hosts.
	Resolvers []netip.AddrPort

	// Reach says which addresses the guest may reach. The gateway's address stands for
	// the host's loopback interface.
	Reach policy.Options
	// Local reports whether an address is the host's own, which the guest may not
	// reach; nil: none is.
	Local func(netip.Addr) (bool, error)
	// Log receives details for finding problems; nil: discarded.
	Log func(format string, args ...any)

	// MaxTCP is the largest number of TCP connections, by default 4096. MaxUDP is
	// the largest number of UDP and ping flows, by default 1024. A new flow
	// replaces one that was not used for long.
	MaxTCP, MaxUDP int
	// MaxDNS is the largest number of DNS queries in flight, by default 128.
	MaxDNS int
	// UDPTimeout is how long a UDP flow may be idle, by default two minutes. A flow
	// that only one side has used ends after a quarter of it.
	UDPTimeout time.Duration
}

// Host numbers in both prefixes, as in QEMU's user network.
const (
	hostGateway = 2
	hostDNS     = 3
	hostGuest   = 15
)

func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Prefix4, netip.MustParsePrefix("10.0.2.0/24"))
	setDefault(&c.Prefix6, netip.MustParsePrefix("fd00:7069:7468::/64"))
	setDefault(&c.MTU, 1500)
	setDefault(&c.MaxTCP, 4096)
	setDefault(&c.MaxUDP, 1024)
	setDefault(&c.MaxDNS, 128)
	setDefault(&c.UDPTimeout, 2*time.Minute)
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.MAC == nil {
		c.MAC = net.HardwareAddr{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}
	}
	c.Prefix4, c.Prefix6 = c.Prefix4.Masked(), c.Prefix6.Masked()
	switch {
	case !c.Prefix4.Addr().Is4() || c.Prefix4.Bits() > 27:
		return c, fmt.Errorf("IPv4 network %s: it must be /27 or larger", c.Prefix4)
	case !c.Prefix6.Addr().Is6() || c.Prefix6.Bits() != 64:
		return c, fmt.Errorf("IPv6 network %s: it must be a /64", c.Prefix6)
	case len(c.MAC) != 6 || c.MAC[0]&1 != 0:
		return c, fmt.Errorf("MAC address %s: it must be 6 bytes and no group address", c.MAC)
	case c.MTU < header.IPv6MinimumMTU || c.MTU > 65535:
		return c, fmt.Errorf("MTU %d: it must be %d to 65535", c.MTU, header.IPv6MinimumMTU)
	case c.MaxTCP < 0 || c.MaxUDP < 0 || c.MaxDNS < 0 || c.UDPTimeout < 0:
		return c, errors.New("a limit is negative")
	}
	return c, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Guest returns the static configuration of the guest's network device, for its
// boot parameters.
func (r *Rules) Guest() boot.Net {
	a := r.addrs
	return boot.Net{
		MAC:      r.cfg.MAC.String(),
		Addr4:    netip.PrefixFrom(a.guest4, r.cfg.Prefix4.Bits()).String(),
		Gateway4: a.gateway4.String(),
		Addr6:    netip.PrefixFrom(a.guest6, r.cfg.Prefix6.Bits()).String(),
		Gateway6: a.gateway6.String(),
		DNS:      []string{a.dns4.String(), a.dns6.String()},
		MTU:      r.cfg.MTU,
	}
}

// addresses are the addresses on the guest's link.
type addresses struct {
	mac                tcpip.LinkAddress // of the gateway
	gateway4, gateway6 netip.Addr
	dns4, dns6         netip.Addr
	guest4, guest6     netip.Addr
	linkLocal          netip.Addr     // of the gateway, the source of router advertisements
	own                []netip.Prefix // all addresses of the gateway, with their networks
	prefix4, prefix6   netip.Prefix
}

func (c Config) addresses() addresses {
	gw4 := nth(c.Prefix4, hostGateway)
	b := gw4.As4()
	a := addresses{
		// As in slirp: 52:55 and the IPv4 address.
		mac:       tcpip.LinkAddress([]byte{0x52, 0x55, b[0], b[1], b[2], b[3]}),
		gateway4:  gw4,
		gateway6:  nth(c.Prefix6, hostGateway),
		dns4:      nth(c.Prefix4, hostDNS),
		dns6:      nth(c.Prefix6, hostDNS),
		guest4:    nth(c.Prefix4, hostGuest),
		guest6:    nth(c.Prefix6, hostGuest),
		linkLocal: netip.MustParseAddr("fe80::2"),
		prefix4:   c.Prefix4,
		prefix6:   c.Prefix6,
	}
	for _, x := range []netip.Addr{a.gateway4, a.dns4} {
		a.own = append(a.own, netip.PrefixFrom(x, c.Prefix4.Bits()))
	}
	for _, x := range []netip.Addr{a.gateway6, a.dns6, a.linkLocal} {
		a.own = append(a.own, netip.PrefixFrom(x, c.Prefix6.Bits()))
	}
	return a
}

func (a *addresses) isOwn(x netip.Addr) bool {
	return slices.ContainsFunc(a.own, func(p netip.Prefix) bool { return p.Addr() == x })
}

func (a *addresses) isGateway(x netip.Addr) bool { return x == a.gateway4 || x == a.gateway6 }

func (a *addresses) isDNS(x netip.Addr) bool { return x == a.dns4 || x == a.dns6 }

// gatewayFor returns the gateway's address in the family of x.
func (a *addresses) gatewayFor(x netip.Addr) netip.Addr {
	if x.Is4() {
		return a.gateway4
	}
	return a.gateway6
}

// guestFor returns the guest's address in the family of x.
func (a *addresses) guestFor(x netip.Addr) netip.Addr {
	if x.Is4() {
		return a.guest4
	}
	return a.guest6
}

// nth returns the address with the given host number in p.
func nth(p netip.Prefix, host uint32) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+host)
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+host)
	return netip.AddrFrom16(b)
}

// Conversions between addresses of net/netip and of the stack.

func toStack(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func fromStack(a tcpip.Address) netip.Addr {
	if a.Len() == 4 {
		return netip.AddrFrom4(a.As4())
	}
	return netip.AddrFrom16(a.As16())
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func subnet(p netip.Prefix) tcpip.Subnet {
	return tcpip.AddressWithPrefix{Address: toStack(p.Addr()), PrefixLen: p.Bits()}.Subnet()
}
