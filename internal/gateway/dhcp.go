package gateway

import (
	"encoding/binary"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const (
	dhcpServerPort = 67
	dhcpClientPort = 68
	// leaseTime is long, because the address has a single owner.
	leaseTime = 24 * time.Hour
)

// handleDHCP answers a message to the DHCP server (RFC 2131). The server has one
// address, which is the guest's. Any client on the link is the guest.
func (g *Gateway) handleDHCP(payload []byte) {
	request, err := dhcpv4.FromBytes(payload)
	if err != nil || request.OpCode != dhcpv4.OpcodeBootRequest || len(request.ClientHWAddr) != header.EthernetAddressSize {
		return
	}
	reply, err := g.answerDHCP(request)
	if err != nil || reply == nil {
		return
	}
	// A client without an address only receives broadcasts and packets to its
	// Ethernet address. So the reply does not use the stack's routes.
	link, dst := tcpip.LinkAddress(request.ClientHWAddr), g.addrs.guest4
	if request.IsBroadcast() || reply.MessageType() == dhcpv4.MessageTypeNak {
		link, dst = header.EthernetBroadcastAddress, ipv4Broadcast
	}
	packet := udp4(toStack(g.addrs.gateway4), toStack(dst), dhcpServerPort, dhcpClientPort, reply.ToBytes())
	_ = g.stack.WritePacketToRemote(nicID, link, ipv4.ProtocolNumber, buffer.MakeWithData(packet))
}

// answerDHCP returns the answer to a client's message, or nil if it needs no answer.
func (g *Gateway) answerDHCP(request *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	server, guest := g.addrs.gateway4.AsSlice(), g.addrs.guest4.AsSlice()
	if id := request.ServerIdentifier(); id != nil && !id.Equal(server) {
		return nil, nil // the client has chosen another server
	}
	mods := []dhcpv4.Modifier{
		dhcpv4.WithServerIP(server),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(server)),
	}
	switch request.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		mods = append(mods, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), dhcpv4.WithYourIP(guest))
	case dhcpv4.MessageTypeRequest:
		want := request.RequestedIPAddress()
		if want == nil {
			want = request.ClientIPAddr
		}
		if !want.Equal(guest) {
			return dhcpv4.NewReplyFromRequest(request, append(mods, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))...)
		}
		mods = append(mods, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(guest))
	case dhcpv4.MessageTypeInform:
		mods = append(mods, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))
	default:
		return nil, nil
	}
	if request.MessageType() != dhcpv4.MessageTypeInform {
		mods = append(mods, dhcpv4.WithLeaseTime(uint32(leaseTime/time.Second)))
	}
	mods = append(mods,
		dhcpv4.WithNetmask(net.CIDRMask(g.cfg.Prefix4.Bits(), 32)),
		dhcpv4.WithOption(dhcpv4.OptRouter(server)),
		dhcpv4.WithOption(dhcpv4.OptDNS(g.addrs.dns4.AsSlice())),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(g.cfg.MTU))),
	)
	return dhcpv4.NewReplyFromRequest(request, mods...)
}

// udp4 returns an IPv4 packet with a UDP datagram.
func udp4(src, dst tcpip.Address, srcPort, dstPort uint16, payload []byte) []byte {
	length := uint16(header.UDPMinimumSize + len(payload))
	packet := make([]byte, header.IPv4MinimumSize+int(length))
	ip := header.IPv4(packet)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(packet)), TTL: ipv4.DefaultTTL,
		Protocol: uint8(udpProtocol), SrcAddr: src, DstAddr: dst,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	h := header.UDP(packet[header.IPv4MinimumSize:])
	h.Encode(&header.UDPFields{SrcPort: srcPort, DstPort: dstPort, Length: length})
	copy(h[header.UDPMinimumSize:], payload)
	sum := checksum.Checksum(payload, header.PseudoHeaderChecksum(udpProtocol, src, dst, length))
	h.SetChecksum(nonZero(^h.CalculateChecksum(sum)))
	return packet
}
