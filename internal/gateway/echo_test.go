package gateway

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/policy"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// ping sends an echo request from the guest and waits for the reply.
func (v *guest) ping(to netip.Addr, size int) string {
	proto, request, reply := icmp.ProtocolNumber4, byte(header.ICMPv4Echo), byte(header.ICMPv4EchoReply)
	if to.Is6() {
		proto, request, reply = icmp.ProtocolNumber6, byte(header.ICMPv6EchoRequest), byte(header.ICMPv6EchoReply)
	}
	wq := new(waiter.Queue)
	ep, err := v.stack.NewEndpoint(proto, protocolOf(to), wq)
	if err != nil {
		return err.String()
	}
	defer ep.Close()
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	if err := ep.Connect(full(netip.AddrPortFrom(to, 0))); err != nil {
		return err.String()
	}
	message := append([]byte{request, 0, 0, 0, 0, 0, 0, 1}, bytes.Repeat([]byte("ping"), size/4)...)
	if _, err := ep.Write(bytes.NewReader(message), tcpip.WriteOptions{}); err != nil {
		return err.String()
	}
	select {
	case <-ready:
	case <-time.After(5 * time.Second):
		return "no reply"
	}
	var got bytes.Buffer
	if _, err := ep.Read(&got, tcpip.ReadOptions{}); err != nil {
		return err.String()
	}
	b := got.Bytes()
	if len(b) != len(message) || b[0] != reply || !bytes.Equal(b[6:], message[6:]) {
		return "a wrong reply"
	}
	return ""
}

func TestPing(t *testing.T) {
	beyond4, beyond6 := netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("2001:db8::9")
	g, v := newGuest(t, Config{})
	g.translate = func(dst netip.AddrPort) (netip.AddrPort, bool) {
		a := dst.Addr()
		return netip.AddrPortFrom(loopback(a), 0), a == beyond4 || a == beyond6
	}
	for _, tt := range []struct {
		name  string
		to    netip.Addr
		sizes []int
	}{
		{"the gateway", g.addrs.gateway4, []int{0, 56, 4000}},
		{"the gateway by IPv6", g.addrs.gateway6, []int{0, 56}},
		{"the name server", g.addrs.dns4, []int{56}},
		{"a host beyond", beyond4, []int{0, 56, 4000}},
		{"a host beyond by IPv6", beyond6, []int{0, 56}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.to == beyond4 || tt.to == beyond6 {
				pingAllowed(t, tt.to)
			}
			for _, size := range tt.sizes {
				if problem := v.ping(tt.to, size); problem != "" {
					t.Errorf("%d bytes: %s", size, problem)
				}
			}
		})
	}
}

func TestPingOfADeniedNetworkIsRefused(t *testing.T) {
	w := newWire(t, Config{Reach: policy.Options{Rules: []policy.Rule{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}}})
	seeds := seedFrames()
	arpRequest, pingBeyond := seeds[0], seeds[7]
	if err := w.link.WritePackets([]link.Packet{{arpRequest}, {pingBeyond}}); err != nil {
		t.Fatal(err)
	}
	w.receive(uint16(ipv4.ProtocolNumber), func(p []byte) bool {
		if header.IPv4(p).TransportProtocol() != header.ICMPv4ProtocolNumber {
			return false
		}
		m := header.ICMPv4(p[header.IPv4MinimumSize:])
		quoted := header.IPv4(m.Payload())
		return m.Type() == header.ICMPv4DstUnreachable && m.Code() == header.ICMPv4PortUnreachable &&
			quoted.TransportProtocol() == header.ICMPv4ProtocolNumber
	})
}

// pingAllowed skips a test if the host allows no ping socket in an address's family.
func pingAllowed(t *testing.T, like netip.Addr) {
	t.Helper()
	c, err := dialPing(loopback(like))
	if err != nil {
		b, _ := os.ReadFile("/proc/sys/net/ipv4/ping_group_range")
		t.Skipf("ping sockets are not for this user (net.ipv4.ping_group_range: %s): %v", strings.TrimSpace(string(b)), err)
	}
	c.Close()
}
