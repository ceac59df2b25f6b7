package gateway

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"

	"github.com/pith-os/pith/internal/netns"

	"golang.org/x/sys/unix"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
)

// handleEcho forwards the guest's ICMP echo requests to hosts beyond the gateway.
// The stack itself answers those to the gateway. The gateway sends requests from
// ping sockets, which need no privilege if net.ipv4.ping_group_range contains the
// user's group (icmp(7)). Otherwise the guest gets "administratively prohibited".
func (g *Gateway) handleEcho(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	dst := fromStack(id.LocalAddress)
	if g.addrs.isOwn(dst) {
		return false
	}
	request, ok := pkt.Data().PullUp(pkt.Data().Size())
	head := pkt.TransportHeader().Slice()
	if !ok || len(head) < echoSize || !isEchoRequest(head[0], dst.Is6()) {
		return true
	}
	message := append(append(make([]byte, 0, len(head)+len(request)), head...), request...)
	k := flowKey{
		proto: icmp.ProtocolNumber4,
		guest: netip.AddrPortFrom(fromStack(id.RemoteAddress), binary.BigEndian.Uint16(head[4:])),
		peer:  netip.AddrPortFrom(dst, 0),
	}
	if dst.Is6() {
		k.proto = icmp.ProtocolNumber6
	}
	f := g.flows.get(k)
	if f == nil {
		var v verdict
		if f, v = g.openEcho(k); v != allow {
			g.reject(pkt, v)
			return true
		}
	}
	f.forward(message, pkt)
	return true
}

// echoSize is the size of an echo message's header: type, code, checksum,
// identifier, sequence number (RFC 792, RFC 4443 §4.1).
const echoSize = 8

func isEchoRequest(typ byte, v6 bool) bool {
	if v6 {
		return header.ICMPv6Type(typ) == header.ICMPv6EchoRequest
	}
	return header.ICMPv4Type(typ) == header.ICMPv4Echo
}

// echoRequest writes the header of an echo request to b.
func echoRequest(b []byte, v6 bool, ident uint16) {
	b[0] = byte(header.ICMPv4Echo)
	if v6 {
		b[0] = byte(header.ICMPv6EchoRequest)
	}
	binary.BigEndian.PutUint16(b[4:], ident)
}

// openEcho makes a flow with a ping socket.
func (g *Gateway) openEcho(k flowKey) (*flow, verdict) {
	to, v := g.target(k.peer)
	if v != allow {
		return nil, v
	}
	conn, err := netns.Make(g.cfg.Namespace, func() (*net.UDPConn, error) { return dialPing(to.Addr()) })
	if err != nil {
		return nil, verdictOf(err)
	}
	f := &flow{
		key:    k,
		socket: conn,
		out:    func(b []byte) error { _, err := conn.Write(b); return err },
	}
	if err := g.flows.add(f); err != nil {
		return nil, drop
	}
	return f, allow
}

// dialPing opens a ping socket (icmp(7)) to a host. The kernel chooses the
// identifier and computes checksums.
func dialPing(to netip.Addr) (*net.UDPConn, error) {
	family, proto := unix.AF_INET6, unix.IPPROTO_ICMPV6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
	if to.Is4() {
		family, proto = unix.AF_INET, unix.IPPROTO_ICMP
		sa = &unix.SockaddrInet4{Addr: to.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "ping socket")
	if err := unix.Connect(fd, sa); err != nil {
		return nil, errors.Join(os.NewSyscallError("connect", err), file.Close())
	}
	conn, err := net.FilePacketConn(file) // it duplicates the descriptor
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// sendEchoReply sends the echo reply in message to the guest, with the identifier
// that the guest used.
func sendEchoReply(r *stack.Route, ident uint16, message []byte) {
	v6 := r.NetProto() == ipv6.ProtocolNumber
	if len(message) < echoSize ||
		!v6 && header.ICMPv4Type(message[0]) != header.ICMPv4EchoReply ||
		v6 && header.ICMPv6Type(message[0]) != header.ICMPv6EchoReply {
		return
	}
	pkt := newPacket(r, echoSize, message[echoSize:])
	if pkt == nil {
		return
	}
	defer pkt.DecRef()
	h := pkt.TransportHeader().Push(echoSize)
	copy(h, message)
	binary.BigEndian.PutUint16(h[2:], 0)
	binary.BigEndian.PutUint16(h[4:], ident)
	proto := icmp.ProtocolNumber4
	sum := checksum.Combine(checksum.Checksum(h, 0), pkt.Data().Checksum())
	if v6 {
		proto = icmp.ProtocolNumber6
		sum = checksum.Combine(sum, r.PseudoHeaderChecksum(proto, uint16(pkt.Size())))
	}
	binary.BigEndian.PutUint16(h[2:], ^sum)
	pkt.TransportProtocolNumber = proto
	_ = r.WritePacket(stack.NetworkHeaderParams{Protocol: proto, TTL: r.DefaultTTL()}, pkt)
}
