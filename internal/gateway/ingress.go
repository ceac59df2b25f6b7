package gateway

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// accept reports whether the stack may have a packet of the guest. A promiscuous and
// spoofing stack treats every address as its own. So accept drops ARP requests and
// neighbor solicitations for addresses of others, and packets that do not come from
// an address of the guest's networks.
func (g *Gateway) accept(proto tcpip.NetworkProtocolNumber, packet []byte) bool {
	switch proto {
	case arp.ProtocolNumber:
		h := header.ARP(packet)
		return h.IsValid() && g.isGuest(addr4(h.ProtocolAddressSender())) &&
			(h.Op() != header.ARPRequest || g.addrs.isOwn(addr4(h.ProtocolAddressTarget())))
	case ipv4.ProtocolNumber:
		if len(packet) < header.IPv4MinimumSize {
			return false
		}
		h := header.IPv4(packet)
		src := fromStack(h.SourceAddress())
		return g.isGuest(src) || src.IsUnspecified() && h.Protocol() == uint8(header.UDPProtocolNumber)
	case ipv6.ProtocolNumber:
		if len(packet) < header.IPv6MinimumSize {
			return false
		}
		h := header.IPv6(packet)
		src := fromStack(h.SourceAddress())
		if !g.isGuest(src) && !src.IsUnspecified() {
			return false
		}
		if h.NextHeader() == uint8(header.ICMPv6ProtocolNumber) {
			return g.acceptICMPv6(header.ICMPv6(packet[header.IPv6MinimumSize:]))
		}
		return true
	}
	return false
}

func (g *Gateway) acceptICMPv6(h header.ICMPv6) bool {
	if len(h) < header.ICMPv6MinimumSize {
		return false
	}
	switch h.Type() {
	case header.ICMPv6RouterSolicit:
		g.sendAdvertisement()
		return false
	case header.ICMPv6NeighborSolicit:
		const target = header.ICMPv6HeaderSize + 4 // RFC 4861 §4.3
		return len(h) >= target+16 && g.addrs.isOwn(netip.AddrFrom16([16]byte(h[target:target+16])))
	}
	return true
}

// isGuest reports whether the guest may have address a. It may have any address of
// its networks except the gateway's.
func (g *Gateway) isGuest(a netip.Addr) bool {
	if g.addrs.isOwn(a) || a.IsMulticast() {
		return false
	}
	return g.cfg.Prefix4.Contains(a) && a != g.cfg.Prefix4.Addr() && a != broadcast(g.cfg.Prefix4) ||
		g.cfg.Prefix6.Contains(a) || a.Is6() && a.IsLinkLocalUnicast()
}

// addr4 returns the IPv4 address in the four bytes of b.
func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }

// broadcast returns the last address of the IPv4 network p.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	n := binary.BigEndian.Uint32(b[:]) | 1<<(32-p.Bits()) - 1
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
