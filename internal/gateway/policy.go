package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pith-os/pith/internal/dns"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// verdict is the decision about a packet or a connection of the guest.
type verdict int

const (
	allow           verdict = iota
	drop                    // no answer: the guest runs into its own timeout
	refuse                  // nobody listens: RST, or ICMP port unreachable
	hostUnreachable         // ICMP
	netUnreachable          // ICMP
	prohibit                // ICMP, administratively prohibited
)

// target returns the host address for the guest's destination dst.
func (g *Gateway) target(dst netip.AddrPort) (to netip.AddrPort, v verdict) {
	if g.translate != nil {
		if to, ok := g.translate(dst); ok {
			return to, allow
		}
	}
	to, err := g.Target(dst)
	if err != nil {
		return to, verdictOf(err)
	}
	return to, allow
}

// Target returns the address of the host's network that stands behind the guest's
// destination dst, if the guest may reach it. Otherwise the error is the unix.Errno that a
// program gets. The name server is not reached this way ([Rules.DNS]).
func (r *Rules) Target(dst netip.AddrPort) (netip.AddrPort, error) {
	rule, err := r.policy.Check(dst.Addr(), dst.Port())
	if err != nil {
		r.cfg.Log("%v", err)
	}
	if rule != nil {
		r.cfg.Log("%s refused by %s: %s", dst, rule, rule.Name)
		return dst, unix.ECONNREFUSED
	}
	return r.addrs.behind(dst)
}

// local reports whether an address is the host's own. Addresses of the guest's link are
// the gateway's, even if the host has the same ones.
func (r *Rules) local(a netip.Addr) (bool, error) {
	if r.cfg.Local == nil || r.cfg.Prefix4.Contains(a) || r.cfg.Prefix6.Contains(a) {
		return false, nil
	}
	return r.cfg.Local(a)
}

// DNS returns the name server at dst, or nil if there is none.
func (r *Rules) DNS(dst netip.AddrPort) *dns.Forwarder {
	if r.addrs.isDNS(dst.Addr()) && dst.Port() == dns.Port {
		return r.dns
	}
	return nil
}

// behind returns the address of the host's network that dst stands for. It returns the
// error that a program gets for an address that stands for none.
func (a *addresses) behind(dst netip.AddrPort) (netip.AddrPort, error) {
	switch x := dst.Addr(); {
	case a.isGateway(x):
		return netip.AddrPortFrom(loopback(x), dst.Port()), nil
	case a.isOwn(x):
		return dst, unix.ECONNREFUSED
	case a.prefix4.Contains(x), a.prefix6.Contains(x):
		return dst, unix.EHOSTUNREACH // there is no other host on the link
	case x.Is4In6(), x.IsUnspecified(), x.IsLoopback(), x.IsMulticast(), x.Is6() && x.IsLinkLocalUnicast(), x == ipv4Broadcast:
		// For the host, some of these mean its own loopback interface. Others have
		// no meaning beyond a link.
		return dst, unix.ENETUNREACH
	}
	return dst, nil
}

// loopback returns the loopback address in the family of a.
func loopback(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// verdictOf translates an error of a host socket.
func verdictOf(err error) verdict {
	switch {
	case errors.Is(err, syscall.EHOSTUNREACH):
		return hostUnreachable
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL):
		return netUnreachable
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return prohibit
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, net.ErrClosed):
		return drop
	}
	return refuse
}

// reject sends the guest an ICMP error about its packet pkt. v is not allow. A
// refusal has the packet's destination as its source, any other error the gateway.
// The stack limits the rate of these messages.
func (g *Gateway) reject(pkt *stack.PacketBuffer, v verdict) {
	if v == drop {
		return
	}
	switch p := g.stack.NetworkProtocolInstance(pkt.NetworkProtocolNumber).(type) {
	case stack.RejectIPv4WithHandler:
		_ = p.SendRejectionError(pkt, icmp4[v], v == refuse)
	case stack.RejectIPv6WithHandler:
		_ = p.SendRejectionError(pkt, icmp6[v], v == refuse)
	}
}

var icmp4 = [...]stack.RejectIPv4WithICMPType{
	refuse:          stack.RejectIPv4WithICMPPortUnreachable,
	hostUnreachable: stack.RejectIPv4WithICMPHostUnreachable,
	netUnreachable:  stack.RejectIPv4WithICMPNetUnreachable,
	prohibit:        stack.RejectIPv4WithICMPAdminProhibited,
}

// gVisor's TCP, which also runs in our guests, only ends an IPv6 connection attempt
// on "no route". After the other codes it waits for its timeout.
var icmp6 = [...]stack.RejectIPv6WithICMPType{
	refuse:          stack.RejectIPv6WithICMPPortUnreachable,
	hostUnreachable: stack.RejectIPv6WithICMPNoRoute,
	netUnreachable:  stack.RejectIPv6WithICMPNoRoute,
	prohibit:        stack.RejectIPv6WithICMPNoRoute,
}

// quote is the part of a packet that an ICMP error about it must contain: the
// network header and the first 8 bytes of the transport header.
type quote struct {
	network   [header.IPv6MinimumSize]byte
	transport [8]byte
	v6        bool
}

// quoteOf returns the quote of pkt, whose headers the stack has parsed.
func quoteOf(pkt *stack.PacketBuffer) quote {
	q := quote{v6: pkt.NetworkProtocolNumber == ipv6.ProtocolNumber}
	copy(q.network[:], pkt.NetworkHeader().Slice())
	if !q.v6 {
		header.IPv4(q.network[:]).SetHeaderLength(header.IPv4MinimumSize) // without options
	}
	copy(q.transport[:], pkt.TransportHeader().Slice())
	return q
}

// rejectLater is reject for a packet that is gone, except for its quote.
func (g *Gateway) rejectLater(q *quote, v verdict) {
	size, proto := header.IPv4MinimumSize, ipv4.ProtocolNumber
	if q.v6 {
		size, proto = header.IPv6MinimumSize, ipv6.ProtocolNumber
	}
	payload := buffer.NewViewWithData(q.network[:size])
	if _, err := payload.Write(q.transport[:]); err != nil {
		panic(err) // cannot happen: a view grows as needed
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(payload)})
	defer pkt.DecRef()
	pkt.NetworkProtocolNumber = proto
	pkt.NICID = nicID
	pkt.NetworkHeader().Consume(size)
	pkt.TransportHeader().Consume(len(q.transport))
	g.reject(pkt, v)
}
