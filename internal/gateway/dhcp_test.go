package gateway

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// wire is a guest that writes its own frames.
type wire struct {
	t    testing.TB
	g    *Gateway
	link link.Link
}

// newWire returns the guest's end of a link that a gateway serves.
func newWire(t testing.TB, cfg Config) *wire {
	t.Helper()
	checkLeaks(t)
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	host, far := linkPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- g.Serve(ctx, host) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		far.Close()
	})
	return &wire{t, g, far}
}

var guestMAC = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// frame returns a message of the link.
func frame(dst string, proto uint16, packet []byte) []byte {
	b := make([]byte, boot.VirtioNetHeaderSize, boot.VirtioNetHeaderSize+ethernetSize+len(packet))
	b = append(append(b, dst...), guestMAC...)
	return append(binary.BigEndian.AppendUint16(b, proto), packet...)
}

func (w *wire) send(dst string, proto uint16, packet []byte) {
	w.t.Helper()
	if err := w.link.WritePackets([]link.Packet{{frame(dst, proto, packet)}}); err != nil {
		w.t.Fatal(err)
	}
}

// receive waits for a packet that wanted accepts, and drops others.
func (w *wire) receive(proto uint16, wanted func(packet []byte) bool) []byte {
	w.t.Helper()
	timeout := time.AfterFunc(10*time.Second, func() { w.link.Close() })
	defer timeout.Stop()
	for {
		buf := make([]byte, boot.MaxFrame)
		sizes := make([]int, 1)
		if _, err := w.link.ReadPackets([]link.Packet{{buf}}, sizes); err != nil {
			w.t.Fatal("no such packet in 10 seconds: ", err)
		}
		b := buf[boot.VirtioNetHeaderSize:sizes[0]]
		if binary.BigEndian.Uint16(b[12:]) == proto && wanted(b[ethernetSize:]) {
			return b[ethernetSize:]
		}
	}
}

const broadcastMAC = "\xff\xff\xff\xff\xff\xff"

func TestDHCP(t *testing.T) {
	w := newWire(t, Config{MTU: 9000})
	exchange := func(m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		t.Helper()
		w.send(broadcastMAC, uint16(ipv4.ProtocolNumber),
			udp4(header.IPv4Any, header.IPv4Broadcast, dhcpClientPort, dhcpServerPort, m.ToBytes()))
		p := w.receive(uint16(ipv4.ProtocolNumber), func(p []byte) bool {
			h := header.UDP(p[header.IPv4MinimumSize:])
			return header.IPv4(p).Protocol() == uint8(udpProtocol) && h.SourcePort() == dhcpServerPort
		})
		if ip := header.IPv4(p); !ip.IsChecksumValid() {
			t.Error("the IPv4 checksum is wrong")
		}
		reply, err := dhcpv4.FromBytes(p[header.IPv4MinimumSize+header.UDPMinimumSize:])
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	discover, err := dhcpv4.NewDiscovery(guestMAC)
	if err != nil {
		t.Fatal(err)
	}
	offer := exchange(discover)
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	ack := exchange(request)
	mtu, _ := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options)
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"offer", offer.MessageType(), dhcpv4.MessageTypeOffer},
		{"ack", ack.MessageType(), dhcpv4.MessageTypeAck},
		{"address", ack.YourIPAddr.String(), "10.0.2.15"},
		{"netmask", net.IP(ack.SubnetMask()).String(), "255.255.255.0"},
		{"router", ack.Router()[0].String(), "10.0.2.2"},
		{"name server", ack.DNS()[0].String(), "10.0.2.3"},
		{"lease", ack.IPAddressLeaseTime(0), leaseTime},
		{"MTU", mtu, uint16(9000)},
		{"transaction", ack.TransactionID, request.TransactionID},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
	request.UpdateOption(dhcpv4.OptRequestedIPAddress(net.IPv4(10, 0, 2, 99)))
	if nak := exchange(request); nak.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("a request for another address: %v, want a NAK", nak.MessageType())
	}
}

func TestRouterAdvertisement(t *testing.T) {
	w := newWire(t, Config{})
	is := func(p []byte) bool {
		return header.IPv6(p).NextHeader() == uint8(header.ICMPv6ProtocolNumber) &&
			header.ICMPv6(p[header.IPv6MinimumSize:]).Type() == header.ICMPv6RouterAdvert
	}
	w.receive(uint16(ipv6.ProtocolNumber), is) // sent unasked
	solicit := make([]byte, header.IPv6MinimumSize+8)
	header.IPv6(solicit).Encode(&header.IPv6Fields{
		PayloadLength: 8, TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: header.NDPHopLimit,
		SrcAddr: header.IPv6Any, DstAddr: header.IPv6AllRoutersLinkLocalMulticastAddress,
	})
	solicit[header.IPv6MinimumSize] = byte(header.ICMPv6RouterSolicit)
	w.send("\x33\x33\x00\x00\x00\x02", uint16(ipv6.ProtocolNumber), solicit)
	p := w.receive(uint16(ipv6.ProtocolNumber), is)

	m := header.ICMPv6(p[header.IPv6MinimumSize:])
	ip := header.IPv6(p)
	if sum := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: ip.SourceAddress(), Dst: ip.DestinationAddress()}); sum != m.Checksum() {
		t.Errorf("checksum %#x, want %#x", m.Checksum(), sum)
	}
	ra := header.NDPRouterAdvert(m.MessageBody())
	if ra.RouterLifetime() != routerLifetime {
		t.Errorf("router lifetime %v", ra.RouterLifetime())
	}
	it, err := ra.Options().Iter(true)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for {
		opt, done, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		if done {
			break
		}
		switch opt := opt.(type) {
		case header.NDPPrefixInformation:
			subnet := opt.Subnet()
			seen["prefix"] = opt.AutonomousAddressConfigurationFlag() && opt.OnLinkFlag() &&
				subnet.String() == "fd00:7069:7468::/64"
		case header.NDPRecursiveDNSServer:
			addrs, err := opt.Addresses()
			seen["name server"] = err == nil && len(addrs) == 1 && fromStack(addrs[0]) == w.g.addrs.dns6
		case header.NDPSourceLinkLayerAddressOption:
			seen["link address"] = opt.EthernetAddress() == w.g.addrs.mac
		}
	}
	for _, what := range []string{"prefix", "name server", "link address"} {
		if !seen[what] {
			t.Errorf("%s is missing or wrong", what)
		}
	}
}

// A spoofing stack answers for every address. A guest that probes for its own
// address would find it taken.
func TestGatewayAnswersARPForItsOwnAddressesOnly(t *testing.T) {
	w := newWire(t, Config{})
	request := func(target netip.Addr) []byte {
		p := make([]byte, header.ARPSize)
		h := header.ARP(p)
		h.SetIPv4OverEthernet()
		h.SetOp(header.ARPRequest)
		copy(h.HardwareAddressSender(), guestMAC)
		copy(h.ProtocolAddressSender(), w.g.addrs.guest4.AsSlice())
		copy(h.ProtocolAddressTarget(), target.AsSlice())
		return p
	}
	for _, target := range []string{"10.0.2.15", "10.0.2.77", "192.0.2.1", "10.0.2.3"} {
		w.send(broadcastMAC, uint16(arp.ProtocolNumber), request(netip.MustParseAddr(target)))
	}
	p := w.receive(uint16(arp.ProtocolNumber), func(p []byte) bool { return header.ARP(p).Op() == header.ARPReply })
	if got := addr4(header.ARP(p).ProtocolAddressSender()); got != w.g.addrs.dns4 {
		t.Errorf("the first answer is for %s, want the address of the last question", got)
	}
}
