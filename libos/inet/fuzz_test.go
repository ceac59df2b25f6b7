package inet

import (
	"net/netip"
	"testing"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/inet/dhcp"
	"github.com/pith-os/pith/libos/linux"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// sink is a device that accepts all frames and never delivers one.
type sink struct{ closed chan struct{} }

func (s sink) Queues() int                                          { return 1 }
func (s sink) Up() bool                                             { return true }
func (s sink) Send(int, boot.VnetHeader, [][]byte) linux.Errno      { return 0 }
func (s sink) WaitSend(int) linux.Errno                             { return linux.EIO }
func (s sink) ShouldNotify(int) bool                                { return false }
func (s sink) Notify(int)                                           {}
func (s sink) Receive(int, func(h boot.VnetHeader, frame [][]byte)) { <-s.closed }
func (s sink) Close()                                               { close(s.closed) }

// FuzzReceive delivers frames from a hostile network, in two pieces, to an
// instance that gets its configuration from that network.
func FuzzReceive(f *testing.F) {
	ethernet := func(proto uint16, packet []byte) []byte {
		frame := make([]byte, header.EthernetMinimumSize, header.EthernetMinimumSize+len(packet))
		header.Ethernet(frame).Encode(&header.EthernetFields{SrcAddr: "\x02\x00\x00\x00\x00\x01", DstAddr: header.EthernetBroadcastAddress, Type: 0})
		frame[12], frame[13] = byte(proto>>8), byte(proto)
		return append(frame, packet...)
	}
	reply := append(make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize), make([]byte, 240)...)
	ip := header.IPv4(reply)
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(len(reply)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber), DstAddr: header.IPv4Broadcast,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	header.UDP(ip.Payload()).Encode(&header.UDPFields{SrcPort: dhcp.ServerPort, DstPort: dhcp.ClientPort, Length: uint16(len(ip.Payload()))})
	f.Add(ethernet(0x0800, reply), uint8(0), uint8(10))
	f.Add(ethernet(0x0800, reply[:25]), uint8(boot.VnetDataValid), uint8(14))
	advert := make([]byte, header.IPv6MinimumSize+header.ICMPv6HeaderSize+header.NDPRAMinimumSize)
	header.IPv6(advert).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(advert) - header.IPv6MinimumSize), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 255,
		SrcAddr: full("fe80::2", 0).Addr, DstAddr: header.IPv6AllNodesMulticastAddress,
	})
	header.ICMPv6(advert[header.IPv6MinimumSize:]).SetType(header.ICMPv6RouterAdvert)
	f.Add(ethernet(0x86dd, advert), uint8(boot.VnetNeedsCsum), uint8(60))
	f.Add(ethernet(0x0806, make([]byte, header.ARPSize)), uint8(0), uint8(0))

	a := newAutoconf(newLink(sink{make(chan struct{})}, guestMAC, 1500, true), addressTimeout)
	f.Cleanup(a.stack.Close)
	a.apply(&dhcp.Lease{Addr: netip.MustParsePrefix("10.0.2.15/24"), Server: netip.MustParseAddr("10.0.2.2")})
	f.Fuzz(func(t *testing.T, frame []byte, flags, cut uint8) {
		n := min(int(cut), len(frame))
		a.link.deliver(boot.VnetHeader{Flags: flags}, [][]byte{frame[:n], frame[n:]})
		a.update()
	})
}
