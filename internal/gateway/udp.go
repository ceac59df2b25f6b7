package gateway

import (
	"context"
	"net"
	"net/netip"

	"github.com/pith-os/pith/internal/dns"
	"github.com/pith-os/pith/internal/netns"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const udpProtocol = udp.ProtocolNumber

// handleUDP handles every UDP datagram of the guest. It runs on the goroutine that
// reads the link, so it must not wait long.
func (g *Gateway) handleUDP(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	payload, ok := udpPayload(pkt)
	if !ok {
		return true
	}
	guest := netip.AddrPortFrom(fromStack(id.RemoteAddress), id.RemotePort)
	dst := netip.AddrPortFrom(fromStack(id.LocalAddress), id.LocalPort)
	switch {
	case dst.Port() == dhcpServerPort && (dst.Addr() == g.addrs.gateway4 || dst.Addr() == ipv4Broadcast):
		g.handleDHCP(payload)
		return true
	case !g.isGuest(guest.Addr()):
		return true
	case g.addrs.isDNS(dst.Addr()) && dst.Port() == dns.Port:
		g.query(guest, dst, payload)
		return true
	}
	f := g.flows.get(flowKey{udpProtocol, guest, dst})
	if f == nil {
		var v verdict
		if f, v = g.openUDP(guest, dst); v != allow {
			g.reject(pkt, v)
			return true
		}
	}
	f.forward(payload, pkt)
	return true
}

// query answers a query to the name server in a new goroutine.
func (g *Gateway) query(guest, server netip.AddrPort, query []byte) {
	if !g.dns.Begin(query) {
		return
	}
	query = append([]byte(nil), query...)
	if !g.begin(func(ctx context.Context) {
		answer := g.dns.Answer(ctx, "udp", query)
		r, err := g.stack.FindRoute(nicID, toStack(server.Addr()), toStack(guest.Addr()), protocolOf(guest.Addr()), false)
		if answer == nil || err != nil {
			return
		}
		defer r.Release()
		sendUDP(r, server.Port(), guest.Port(), answer)
	}) {
		g.dns.Cancel()
	}
}

var ipv4Broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// udpPayload returns the payload of the datagram in pkt. It reports false if the
// length field is wrong.
func udpPayload(pkt *stack.PacketBuffer) ([]byte, bool) {
	h := header.UDP(pkt.TransportHeader().Slice())
	size := int(h.Length()) - header.UDPMinimumSize
	if size < 0 || size > pkt.Data().Size() {
		return nil, false
	}
	return pkt.Data().PullUp(size)
}

// openUDP makes a flow with a connected socket, so that the host's kernel reports
// ICMP errors for it.
func (g *Gateway) openUDP(guest, dst netip.AddrPort) (*flow, verdict) {
	to, v := g.target(dst)
	if v != allow {
		return nil, v
	}
	conn, err := netns.Make(g.cfg.Namespace, func() (*net.UDPConn, error) {
		return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	})
	if err != nil {
		return nil, verdictOf(err)
	}
	f := &flow{
		key:    flowKey{udpProtocol, guest, dst},
		socket: conn,
		out:    func(b []byte) error { _, err := conn.Write(b); return err },
	}
	if err := g.flows.add(f); err != nil {
		return nil, drop
	}
	return f, allow
}

// sendUDP sends a datagram to the guest. Like any datagram it may be lost.
func sendUDP(r *stack.Route, src, dst uint16, payload []byte) {
	pkt := newPacket(r, header.UDPMinimumSize, payload)
	if pkt == nil {
		return
	}
	defer pkt.DecRef()
	h := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
	pkt.TransportProtocolNumber = udpProtocol
	length := uint16(pkt.Size())
	h.Encode(&header.UDPFields{SrcPort: src, DstPort: dst, Length: length})
	xsum := checksum.Combine(r.PseudoHeaderChecksum(udpProtocol, length), pkt.Data().Checksum())
	h.SetChecksum(nonZero(^h.CalculateChecksum(xsum)))
	_ = r.WritePacket(stack.NetworkHeaderParams{Protocol: udpProtocol, TTL: r.DefaultTTL()}, pkt)
}

// newPacket returns a packet for r with room for headers, or nil if it would be
// longer than IP allows.
func newPacket(r *stack.Route, transportSize int, payload []byte) *stack.PacketBuffer {
	if header.IPv4MinimumSize+transportSize+len(payload) > payloadSize {
		return nil
	}
	return stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + transportSize,
		Payload:            buffer.MakeWithData(payload),
	})
}

// nonZero returns sum, or 0xffff for 0. In UDP a checksum of 0 means that there is
// no checksum, and 0xffff is equivalent (RFC 768).
func nonZero(sum uint16) uint16 {
	if sum == 0 {
		return 0xffff
	}
	return sum
}

// quote returns a quote that stands for any datagram of the guest in f.
func (f *flow) quote() *quote {
	q := &quote{v6: f.key.guest.Addr().Is6()}
	src, dst := toStack(f.key.guest.Addr()), toStack(f.key.peer.Addr())
	if q.v6 {
		header.IPv6(q.network[:]).Encode(&header.IPv6Fields{
			TransportProtocol: f.key.proto, PayloadLength: uint16(len(q.transport)),
			HopLimit: ipv6.DefaultTTL, SrcAddr: src, DstAddr: dst,
		})
	} else {
		h := header.IPv4(q.network[:header.IPv4MinimumSize])
		h.Encode(&header.IPv4Fields{
			Protocol: uint8(f.key.proto), TotalLength: header.IPv4MinimumSize + uint16(len(q.transport)),
			TTL: ipv6.DefaultTTL, SrcAddr: src, DstAddr: dst,
		})
		h.SetChecksum(^h.CalculateChecksum())
	}
	if f.key.proto == udpProtocol {
		header.UDP(q.transport[:]).Encode(&header.UDPFields{
			SrcPort: f.key.guest.Port(), DstPort: f.key.peer.Port(), Length: header.UDPMinimumSize,
		})
	} else {
		echoRequest(q.transport[:], q.v6, f.key.guest.Port())
	}
	return q
}
