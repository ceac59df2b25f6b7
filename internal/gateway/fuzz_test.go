package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/pith-os/pith/internal/dns"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/policy"
	"github.com/pith-os/pith/libos/boot"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// scriptLink is a link whose guest sends the given messages and ends.
type scriptLink struct{ messages [][]byte }

func (l *scriptLink) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	if len(l.messages) == 0 {
		return 0, io.EOF
	}
	m := l.messages[0]
	l.messages = l.messages[1:]
	n := 0
	for _, piece := range pkts[0] {
		n += copy(piece, m[min(n, len(m)):])
	}
	sizes[0] = n
	return 1, nil
}

func (l *scriptLink) WritePackets([]link.Packet) error { return nil }
func (l *scriptLink) Offload() bool                    { return true }
func (l *scriptLink) Done() <-chan struct{}            { return nil }
func (l *scriptLink) Close() error                     { return nil }

// FuzzFrames sends arbitrary messages to the gateway, which must survive them. The
// input is a sequence of messages. Each has its length in front, in two bytes.
func FuzzFrames(f *testing.F) {
	script := func(messages ...[]byte) []byte {
		var b []byte
		for _, m := range messages {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
		}
		return b
	}
	for _, m := range seedFrames() {
		f.Add(script(m))
	}
	f.Add(script(seedFrames()...))

	echo := udpEcho(f, "127.0.0.1:0")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	defer l.Close()
	go echoServer(l)
	udp, tcp := netip.MustParseAddrPort(echo.LocalAddr().String()), netip.MustParseAddrPort(l.Addr().String())

	f.Fuzz(func(t *testing.T, input []byte) {
		g, err := New(Config{Resolvers: []netip.AddrPort{udp}, MaxTCP: 8, MaxUDP: 8, MaxDNS: 2, Reach: policy.Options{HostLoopback: true}})
		if err != nil {
			t.Fatal(err)
		}
		// The gateway dials only the servers above.
		g.translate = func(dst netip.AddrPort) (netip.AddrPort, bool) {
			if dst.Port()%2 == 0 {
				return udp, true
			}
			return tcp, true
		}
		var messages [][]byte
		for len(input) >= 2 {
			n := int(binary.BigEndian.Uint16(input))
			n = min(n, len(input)-2)
			messages = append(messages, input[2:2+n])
			input = input[2+n:]
		}
		if err := g.Serve(t.Context(), &scriptLink{messages}); err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// seedFrames returns one message of each kind that the gateway understands.
func seedFrames() [][]byte {
	gw := string([]byte{0x52, 0x55, 10, 0, 2, 2})
	guest4, gw4 := tcpip.AddrFrom4([4]byte{10, 0, 2, 15}), tcpip.AddrFrom4([4]byte{10, 0, 2, 2})
	dns4, far4 := tcpip.AddrFrom4([4]byte{10, 0, 2, 3}), tcpip.AddrFrom4([4]byte{192, 0, 2, 1})
	guest6 := toStack(netip.MustParseAddr("fd00:7069:7468::15"))
	far6 := toStack(netip.MustParseAddr("2001:db8::1"))

	ip4 := func(dst tcpip.Address, proto uint8, payload []byte) []byte {
		p := make([]byte, header.IPv4MinimumSize)
		h := header.IPv4(p)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(p) + len(payload)), TTL: 64, Protocol: proto, SrcAddr: guest4, DstAddr: dst,
		})
		h.SetChecksum(^h.CalculateChecksum())
		return append(p, payload...)
	}
	ip6 := func(dst tcpip.Address, proto tcpip.TransportProtocolNumber, payload []byte) []byte {
		p := make([]byte, header.IPv6MinimumSize)
		header.IPv6(p).Encode(&header.IPv6Fields{
			PayloadLength: uint16(len(payload)), TransportProtocol: proto, HopLimit: 255, SrcAddr: guest6, DstAddr: dst,
		})
		return append(p, payload...)
	}
	syn := func(port uint16) []byte {
		b := make([]byte, header.TCPMinimumSize)
		header.TCP(b).Encode(&header.TCPFields{
			SrcPort: 40000, DstPort: port, SeqNum: 1, DataOffset: header.TCPMinimumSize,
			Flags: header.TCPFlagSyn, WindowSize: 65535,
		})
		return b
	}
	datagram := func(port uint16, payload []byte) []byte {
		b := make([]byte, header.UDPMinimumSize, header.UDPMinimumSize+len(payload))
		header.UDP(b).Encode(&header.UDPFields{SrcPort: 40000, DstPort: port, Length: uint16(cap(b))})
		return append(b, payload...)
	}
	echo := func(typ byte) []byte {
		b := []byte{typ, 0, 0, 0, 0, 1, 0, 1, 'p', 'i', 'n', 'g'}
		binary.BigEndian.PutUint16(b[2:], ^checksum.Checksum(b, 0))
		return b
	}
	who := make([]byte, header.ARPSize)
	header.ARP(who).SetIPv4OverEthernet()
	header.ARP(who).SetOp(header.ARPRequest)
	copy(header.ARP(who).HardwareAddressSender(), guestMAC)
	copy(header.ARP(who).ProtocolAddressSender(), guest4.AsSlice())
	copy(header.ARP(who).ProtocolAddressTarget(), gw4.AsSlice())
	discover, err := dhcpv4.NewDiscovery(guestMAC)
	if err != nil {
		panic(err)
	}
	query := append([]byte{0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4}, "pith\x00\x00\x01\x00\x01"...)
	solicit := append([]byte{byte(header.ICMPv6NeighborSolicit)}, make([]byte, 23)...)
	copy(solicit[8:], netip.MustParseAddr("fd00:7069:7468::2").AsSlice())

	v4, v6 := uint16(ipv4.ProtocolNumber), uint16(ipv6.ProtocolNumber)
	const udp, tcp, icmp4, icmp6 = 17, 6, 1, 58
	large := frame(gw, v4, ip4(gw4, tcp, append(syn(81), make([]byte, 3000)...)))
	large[0], large[1] = boot.VnetNeedsCsum, boot.VnetGSOTCPv4
	fragment := frame(gw, v4, ip4(gw4, udp, datagram(7, make([]byte, 16))))
	fragment[boot.VirtioNetHeaderSize+ethernetSize+6] = 0x20 // more fragments
	return [][]byte{
		frame(broadcastMAC, uint16(arp.ProtocolNumber), who),
		frame(gw, v4, ip4(gw4, tcp, syn(81))),
		frame(gw, v4, ip4(dns4, tcp, syn(dns.Port))),
		frame(gw, v4, ip4(far4, udp, datagram(8, []byte("hello")))),
		frame(gw, v4, ip4(dns4, udp, datagram(dns.Port, query))),
		frame(broadcastMAC, v4, udp4(header.IPv4Any, header.IPv4Broadcast, dhcpClientPort, dhcpServerPort, discover.ToBytes())),
		frame(gw, v4, ip4(gw4, icmp4, echo(8))),
		frame(gw, v4, ip4(far4, icmp4, echo(8))),
		frame(gw, v6, ip6(far6, tcp, syn(81))),
		frame(gw, v6, ip6(far6, udp, datagram(8, []byte("hello")))),
		frame(gw, v6, ip6(far6, icmp6, echo(128))),
		frame(gw, v6, ip6(far6, icmp6, solicit)),
		large, fragment, nil, make([]byte, 5), make([]byte, boot.VirtioNetHeaderSize+ethernetSize),
	}
}

// A hostile guest can end its own link at most.
func TestMalformedMessagesAreDropped(t *testing.T) {
	w := newWire(t, Config{})
	good := seedFrames()[0]
	badGSO := slices.Clone(good)
	badGSO[1] = 3 // UDP fragmentation, which was not offered
	for _, m := range [][]byte{
		{1}, good[:11], good[:boot.VirtioNetHeaderSize], good[:30], badGSO, make([]byte, boot.MaxFrame), make([]byte, boot.MaxFrame+1),
	} {
		if err := w.link.WritePackets([]link.Packet{{m}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.link.WritePackets([]link.Packet{{good}}); err != nil {
		t.Fatal(err)
	}
	w.receive(uint16(arp.ProtocolNumber), func(p []byte) bool { return header.ARP(p).Op() == header.ARPReply })
}

func TestServeEndsWithTheGuestsLink(t *testing.T) {
	checkLeaks(t)
	g, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	host, far := linkPair(t)
	served := make(chan error, 1)
	go func() { served <- g.Serve(context.Background(), host) }()
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Serve has not returned")
	}
}
