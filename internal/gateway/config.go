package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// Config says what the guest's network looks like and how much of the host it
// may use. The zero value is the default.
type Config struct {
	// Prefix4 and Prefix6 are the guest's networks, 10.0.2.0/24 as in QEMU's
	// user network and fd00:7069:7468::/64. In each, the gateway's host number
	// is 2, the name server's 3 and the guest's 15.
	Prefix4, Prefix6 netip.Prefix
	// MAC is the guest's Ethernet address, 52:54:00:12:34:56.
	MAC net.HardwareAddr
	// MTU of the link in bytes, 1500. Segmentation offload makes a larger one
	// useful for UDP only.
	MTU int

	// Resolvers are the name servers that queries are forwarded to; by
	// default those of the host's /etc/resolv.conf. Where there are none,
	// addresses come from the host's own resolver, /etc/hosts included.
	Resolvers []netip.AddrPort

	// NoLoopback forbids the guest to reach services on the host's loopback
	// interface by the gateway's address.
	NoLoopback bool
	// Deny are networks that the guest may not reach.
	Deny []netip.Prefix

	// MaxTCP bounds the guest's TCP connections, 4096, and MaxUDP its UDP and
	// ping flows, 1024, of which the least recently used make way.
	MaxTCP, MaxUDP int
	// MaxDNS bounds the name server's unanswered queries, 128.
	MaxDNS int
	// UDPTimeout ends a UDP flow that was idle for so long, two minutes. A
	// flow that was never answered ends after a quarter of it.
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

// Guest is the network device's static configuration for the guest's boot
// parameters.
func (g *Gateway) Guest() boot.Net {
	a := g.addrs
	return boot.Net{
		MAC:      g.cfg.MAC.String(),
		Addr4:    netip.PrefixFrom(a.guest4, g.cfg.Prefix4.Bits()).String(),
		Gateway4: a.gateway4.String(),
		Addr6:    netip.PrefixFrom(a.guest6, g.cfg.Prefix6.Bits()).String(),
		Gateway6: a.gateway6.String(),
		DNS:      []string{a.dns4.String(), a.dns6.String()},
		MTU:      g.cfg.MTU,
	}
}

// addresses are those of the guest's link.
type addresses struct {
	mac                tcpip.LinkAddress // the gateway's
	gateway4, gateway6 netip.Addr
	dns4, dns6         netip.Addr
	guest4, guest6     netip.Addr
	linkLocal          netip.Addr     // the gateway's, the source of router advertisements
	own                []netip.Prefix // all of the gateway's, with their networks
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

// gatewayFor is the gateway's address in x's family.
func (a *addresses) gatewayFor(x netip.Addr) netip.Addr {
	if x.Is4() {
		return a.gateway4
	}
	return a.gateway6
}

// guestFor is the guest's address in x's family.
func (a *addresses) guestFor(x netip.Addr) netip.Addr {
	if x.Is4() {
		return a.guest4
	}
	return a.guest6
}

// nth is the address with the given host number in p.
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

// The stack's forms of addresses.

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
