package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/pith-os/pith/internal/dns"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer starts a name server on one UDP and TCP port of the loopback interface.
// It answers every question for an A record with 192.0.2.53.
func nameServer(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, l := listenBoth(t)
	answer := func(query []byte) []byte {
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
			t.Errorf("the name server cannot read %x: %v", query, err)
			return nil
		}
		m.Response, m.Additionals = true, nil
		if m.Questions[0].Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
				Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 53}},
			}}
		}
		b, err := m.Pack()
		if err != nil {
			t.Error(err)
		}
		return b
	}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(answer(buf[:n]), from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var size [2]byte // RFC 1035 §4.2.2
			if _, err := io.ReadFull(c, size[:]); err == nil {
				query := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, query); err == nil {
					a := answer(query)
					c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
				}
			}
			c.Close()
		}
	}()
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// listenBoth listens on one UDP and TCP port of the loopback interface. The kernel chooses
// a port that is free for UDP. It may be taken for TCP, so listenBoth then tries another.
func listenBoth(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", pc.LocalAddr().String())
		if errors.Is(err, syscall.EADDRINUSE) {
			pc.Close()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			pc.Close()
			l.Close()
		})
		return pc, l
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

// resolver returns Go's resolver with the guest's name server.
func (v *guest) resolver(t testing.TB, server netip.Addr, tcp bool) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		to := netip.AddrPortFrom(server, dns.Port)
		if tcp || strings.HasPrefix(network, "tcp") {
			return v.dial(to)
		}
		return v.dialUDP(t, 0, to), nil
	}}
}

func TestDNSIsForwarded(t *testing.T) {
	g, v := newGuest(t, Config{})
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := netip.MustParseAddrPort(silent.LocalAddr().String())
	silent.Close() // its port now refuses queries
	g.dns.Servers = []netip.AddrPort{dead, nameServer(t)}
	for _, server := range []netip.Addr{g.addrs.dns4, g.addrs.dns6} {
		for _, tcp := range []bool{false, true} {
			t.Run(fmt.Sprintf("by %s, TCP %v", server, tcp), func(t *testing.T) {
				got, err := v.resolver(t, server, tcp).LookupHost(t.Context(), "pith.example")
				if want := []string{"192.0.2.53"}; err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, %v; want %v", got, err, want)
				}
			})
		}
	}
}

func TestDNSFailureIsAnAnswer(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := netip.MustParseAddrPort(pc.LocalAddr().String())
	pc.Close()
	g, v := newGuest(t, Config{Resolvers: []netip.AddrPort{dead}})
	_, err = v.resolver(t, g.addrs.dns4, false).LookupHost(t.Context(), "pith.example")
	if err == nil || !strings.Contains(err.Error(), "server misbehaving") {
		t.Errorf("error %v, want one for SERVFAIL", err)
	}
}

func TestDNSAnswersFromHostsWithoutANameServer(t *testing.T) {
	want, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil {
		t.Skip("the host does not know localhost:", err)
	}
	g, v := newGuest(t, Config{Resolvers: []netip.AddrPort{}})
	c := v.dialUDP(t, 0, netip.AddrPortFrom(g.addrs.dns4, dns.Port))
	for _, tt := range []struct {
		name string
		typ  dnsmessage.Type
	}{
		{"localhost.", dnsmessage.TypeA},
		{"1.0.0.127.in-addr.arpa.", dnsmessage.TypePTR},
		{"localhost.", dnsmessage.TypeMX},
	} {
		m := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(tt.name), Type: tt.typ, Class: dnsmessage.ClassINET}},
		}
		query, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(query); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Unpack(buf[:n]); err != nil || m.ID != 7 || !m.Response || m.RCode != dnsmessage.RCodeSuccess {
			t.Errorf("%s %v: %v, %v", tt.name, tt.typ, m, err)
		}
		for _, a := range m.Answers {
			if a, ok := a.Body.(*dnsmessage.AResource); ok && !strings.Contains(fmt.Sprint(want), netip.AddrFrom4(a.A).String()) {
				t.Errorf("localhost is %v, want one of %v", a.A, want)
			}
		}
		if tt.typ == dnsmessage.TypeA && len(m.Answers) == 0 {
			t.Error("no address for localhost")
		}
	}
}

func TestTheHostHasAName(t *testing.T) {
	g, v := newGuest(t, Config{Resolvers: []netip.AddrPort{}})
	got, err := v.resolver(t, g.addrs.dns4, false).LookupHost(t.Context(), HostName)
	if want := []string{"10.0.2.2", "fd00:7069:7468::2"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s is %v, %v, want %v", HostName, got, err, want)
	}
}
