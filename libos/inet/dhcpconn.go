package inet

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"github.com/pith-os/pith/libos/inet/dhcp"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

var errDeviceGone = errors.New("the network device has ended")

// dhcpConn carries DHCP messages without the stack's sockets, which would need
// the address that DHCP is to get.
type dhcpConn struct {
	stack *stack.Stack
	link  *link
	in    chan []byte
}

func newDHCPConn(s *stack.Stack, l *link) *dhcpConn {
	c := &dhcpConn{stack: s, link: l, in: make(chan []byte, 8)}
	intercept := c.intercept
	l.intercept.Store(&intercept)
	return c
}

// intercept keeps frames with messages to the client port. Their destination is
// an address that is not assigned yet, the broadcast address, or the leased
// address.
func (c *dhcpConn) intercept(frame []byte) bool {
	eth := header.Ethernet(frame)
	if eth.Type() != header.IPv4ProtocolNumber || !c.link.forUs(eth.DestinationAddress()) {
		return false
	}
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	if !ip.IsValid(len(ip)) || ip.TransportProtocol() != header.UDPProtocolNumber || ip.More() || ip.FragmentOffset() != 0 || !ip.IsChecksumValid() {
		return false
	}
	udp := header.UDP(ip.Payload())
	if len(udp) < header.UDPMinimumSize || udp.DestinationPort() != dhcp.ClientPort || udp.SourcePort() != dhcp.ServerPort {
		return false
	}
	select {
	case c.in <- bytes.Clone(udp[header.UDPMinimumSize:]):
	default: // the client is behind; drop it
	}
	return true
}

// Send implements dhcp.Conn.
func (c *dhcpConn) Send(msg []byte, local, dst netip.Addr) {
	src, to := tcpip.AddrFromSlice(local.AsSlice()), tcpip.AddrFromSlice(dst.AsSlice())
	if to == header.IPv4Broadcast {
		packet := append(make([]byte, header.IPv4MinimumSize), datagramOf(src, to, msg)...)
		ip := header.IPv4(packet)
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(packet)), TTL: ipv4.DefaultTTL,
			Protocol: uint8(header.UDPProtocolNumber), SrcAddr: src, DstAddr: to,
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		// The client handles lost messages, here and below.
		_ = c.stack.WritePacketToRemote(etherNIC, header.EthernetBroadcastAddress, ipv4.ProtocolNumber, buffer.MakeWithData(packet))
		return
	}
	route, err := c.stack.FindRoute(etherNIC, src, to, ipv4.ProtocolNumber, false)
	if err != nil {
		return
	}
	defer route.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(datagramOf(src, to, msg)),
	})
	defer pkt.DecRef()
	_ = route.WritePacket(stack.NetworkHeaderParams{Protocol: header.UDPProtocolNumber, TTL: ipv4.DefaultTTL}, pkt)
}

// datagramOf returns a UDP datagram that contains msg.
func datagramOf(src, dst tcpip.Address, msg []byte) []byte {
	b := make([]byte, header.UDPMinimumSize, header.UDPMinimumSize+len(msg))
	b = append(b, msg...)
	udp := header.UDP(b)
	udp.Encode(&header.UDPFields{SrcPort: dhcp.ClientPort, DstPort: dhcp.ServerPort, Length: uint16(len(b))})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, src, dst, uint16(len(b)))
	if sum = ^udp.CalculateChecksum(checksum.Checksum(msg, sum)); sum == 0 {
		sum = 0xffff // 0 means no checksum (RFC 768)
	}
	udp.SetChecksum(sum)
	return b
}

// Receive implements dhcp.Conn.
func (c *dhcpConn) Receive(deadline time.Time) ([]byte, error) {
	var late <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		late = t.C
	}
	select {
	case msg := <-c.in:
		return msg, nil
	case <-late:
		return nil, nil
	case <-c.link.done:
		return nil, errDeviceGone
	}
}
