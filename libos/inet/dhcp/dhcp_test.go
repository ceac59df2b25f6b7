package dhcp

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	testMAC    = [6]byte{2, 0, 0, 0, 0, 1}
	testServer = net.IPv4(10, 0, 2, 2).To4()
)

// server is a Conn to a server in memory. Another implementation of the
// protocol makes and reads its messages.
type server struct {
	t      *testing.T
	answer func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4
	in     chan []byte
	asked  []asked
}

type asked struct {
	typ        dhcpv4.MessageType
	local, dst string
	at         time.Duration
}

var begin time.Time

func (s *server) Send(msg []byte, local, dst netip.Addr) {
	m, err := dhcpv4.FromBytes(msg)
	if err != nil {
		s.t.Errorf("the client sent an unreadable message: %v", err)
		return
	}
	if len(msg) < minMessage || m.OpCode != dhcpv4.OpcodeBootRequest || m.ClientHWAddr.String() != net.HardwareAddr(testMAC[:]).String() || m.HostName() != "h" {
		s.t.Errorf("the client sent a bad message of %d bytes: %v", len(msg), m.Summary())
	}
	s.asked = append(s.asked, asked{m.MessageType(), local.String(), dst.String(), time.Since(begin)})
	if reply := s.answer(s, m); reply != nil {
		s.in <- reply.ToBytes()
	}
}

func (s *server) Receive(deadline time.Time) ([]byte, error) {
	var late <-chan time.Time
	if !deadline.IsZero() {
		late = time.After(time.Until(deadline))
	}
	select {
	case msg, ok := <-s.in:
		if !ok {
			return nil, errors.New("closed")
		}
		return msg, nil
	case <-late:
		return nil, nil
	}
}

// honest leases 10.0.2.15 for 1000 seconds.
func honest(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	return reply(s.t, m, net.IPv4(10, 0, 2, 15), dhcpv4.WithLeaseTime(1000))
}

func reply(t *testing.T, m *dhcpv4.DHCPv4, addr net.IP, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	typ := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		typ = dhcpv4.MessageTypeAck
	}
	mods = append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(typ), dhcpv4.WithYourIP(addr), dhcpv4.WithNetmask(net.CIDRMask(24, 32)),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(testServer)), dhcpv4.WithOption(dhcpv4.OptRouter(testServer)),
		dhcpv4.WithOption(dhcpv4.OptDNS(net.IPv4(10, 0, 2, 3), net.IPv4(10, 0, 2, 4))),
		dhcpv4.WithOption(dhcpv4.OptDomainName("example.org")),
		dhcpv4.WithGeneric(dhcpv4.OptionInterfaceMTU, []byte{5, 0xb4}),
	}, mods...)
	r, err := dhcpv4.NewReplyFromRequest(m, mods...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs a client for d and returns the leases that it applied.
func run(t *testing.T, s *server, d time.Duration) (applied []*Lease) {
	synctest.Test(t, func(t *testing.T) {
		begin = time.Now()
		s.t, s.in = t, make(chan []byte, 10)
		c := &Client{Conn: s, MAC: testMAC, Hostname: "h", Apply: func(l *Lease) { applied = append(applied, l) }}
		done := make(chan error)
		go func() { done <- c.Run() }()
		time.Sleep(d)
		synctest.Wait()
		close(s.in)
		if err := <-done; err == nil {
			t.Error("Run returned no error after the connection failed")
		}
	})
	return applied
}

func TestALeaseHasTheServersValues(t *testing.T) {
	s := &server{answer: honest}
	applied := run(t, s, time.Second)
	want := &Lease{
		Addr: netip.MustParsePrefix("10.0.2.15/24"), Server: netip.MustParseAddr("10.0.2.2"),
		Routes: []Route{{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.2.2")}},
		DNS:    []netip.Addr{netip.MustParseAddr("10.0.2.3"), netip.MustParseAddr("10.0.2.4")},
		Domain: "example.org", MTU: 1460,
		Renew: 500 * time.Second, Rebind: 875 * time.Second, Expire: 1000 * time.Second,
	}
	if len(applied) != 2 || !reflect.DeepEqual(applied[0], want) || applied[1] != nil {
		t.Fatalf("applied %+v, want %+v and then nil", applied, want)
	}
	if len(s.asked) != 2 || s.asked[0].typ != dhcpv4.MessageTypeDiscover || s.asked[1].typ != dhcpv4.MessageTypeRequest || s.asked[1].at != 0 {
		t.Errorf("sent %v, want a DISCOVER and a REQUEST at once", s.asked)
	}
}

func TestALeaseIsRenewedWithItsServerThenWithAny(t *testing.T) {
	s := &server{}
	silent := false
	s.answer = func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		silent = silent || time.Since(begin) > 500*time.Second
		if silent {
			return nil
		}
		return honest(s, m)
	}
	// The server answers the first renewal, at 500 seconds, but not the one at
	// 1000.
	applied := run(t, s, 1502*time.Second)
	if len(applied) != 3 || applied[1] == nil || applied[2] != nil {
		t.Errorf("applied %v, want a lease, its renewal and nil", applied)
	}
	for i, want := range []struct {
		local, dst string
		from, to   int // in seconds
	}{
		{"0.0.0.0", "255.255.255.255", 0, 0}, {"0.0.0.0", "255.255.255.255", 0, 0},
		{"10.0.2.15", "10.0.2.2", 500, 500},
		{"10.0.2.15", "10.0.2.2", 1000, 1000}, {"10.0.2.15", "10.0.2.2", 1187, 1188}, {"10.0.2.15", "10.0.2.2", 1281, 1282},
		{"10.0.2.15", "10.0.2.2", 1341, 1342},
		{"10.0.2.15", "255.255.255.255", 1375, 1375}, {"10.0.2.15", "255.255.255.255", 1437, 1438}, {"10.0.2.15", "255.255.255.255", 1497, 1498},
		{"0.0.0.0", "255.255.255.255", 1500, 1500},
	} {
		if i >= len(s.asked) {
			t.Fatalf("sent only %d messages: %v", len(s.asked), s.asked)
		}
		got := s.asked[i]
		if at := int(got.at / time.Second); got.local != want.local || got.dst != want.dst || at < want.from || at > want.to {
			t.Errorf("message %d: %+v, want %+v", i, got, want)
		}
	}
}

func TestARefusedRenewalEndsTheLease(t *testing.T) {
	s := &server{}
	s.answer = func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if !m.ClientIPAddr.IsUnspecified() {
			return reply(s.t, m, net.IPv4zero, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))
		}
		addr := net.IPv4(10, 0, 2, 15)
		if time.Since(begin) > 0 {
			addr = net.IPv4(10, 0, 2, 16)
		}
		return reply(s.t, m, addr, dhcpv4.WithLeaseTime(1000))
	}
	applied := run(t, s, 501*time.Second)
	if len(applied) != 4 || applied[1] != nil || applied[2].Addr.String() != "10.0.2.16/24" {
		t.Errorf("applied %v, want a lease, nil, another lease, nil", applied)
	}
}

func TestAnEndlessLeaseIsNotRenewed(t *testing.T) {
	s := &server{answer: func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		return reply(s.t, m, net.IPv4(10, 0, 2, 15), dhcpv4.WithLeaseTime(forever))
	}}
	run(t, s, 200*365*24*time.Hour)
	if len(s.asked) != 2 {
		t.Errorf("sent %d messages, want 2", len(s.asked))
	}
}

func TestAnUnansweredClientBacksOff(t *testing.T) {
	s := &server{answer: func(*server, *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 { return nil }}
	if applied := run(t, s, time.Hour); applied != nil {
		t.Errorf("applied %v without a reply", applied)
	}
	if n := len(s.asked); n < 55 || n > 65 {
		t.Errorf("sent %d messages in an hour, want 55 to 65", n)
	}
	if third := s.asked[2].at; third < 2*time.Second || third > 4*time.Second {
		t.Errorf("sent the third message after %v, want 2 to 4 seconds", third)
	}
}

func TestAfterARefusedOfferTheClientWaits(t *testing.T) {
	s := &server{answer: func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		if m.MessageType() == dhcpv4.MessageTypeRequest {
			return reply(s.t, m, net.IPv4zero, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak))
		}
		return honest(s, m)
	}}
	run(t, s, time.Minute)
	if n := len(s.asked); n > 16 {
		t.Errorf("sent %d messages in a minute, want at most 16", n)
	}
}

func TestInvalidOffersAreIgnored(t *testing.T) {
	addr := net.IPv4(10, 0, 2, 15)
	for name, bad := range map[string]func(r *dhcpv4.DHCPv4){
		"another client":      func(r *dhcpv4.DHCPv4) { r.ClientHWAddr = net.HardwareAddr{2, 0, 0, 0, 0, 2} },
		"another transaction": func(r *dhcpv4.DHCPv4) { r.TransactionID[0]++ },
		"a request":           func(r *dhcpv4.DHCPv4) { r.OpCode = dhcpv4.OpcodeBootRequest },
		"loopback":            func(r *dhcpv4.DHCPv4) { r.YourIPAddr = net.IPv4(127, 0, 0, 1) },
		"multicast":           func(r *dhcpv4.DHCPv4) { r.YourIPAddr = net.IPv4(224, 0, 0, 1) },
		"broadcast":           func(r *dhcpv4.DHCPv4) { r.YourIPAddr = net.IPv4bcast },
		"no server":           func(r *dhcpv4.DHCPv4) { r.Options.Del(dhcpv4.OptionServerIdentifier) },
		"no lease time":       func(r *dhcpv4.DHCPv4) { r.Options.Del(dhcpv4.OptionIPAddressLeaseTime) },
		"a short lease":       func(r *dhcpv4.DHCPv4) { r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(9 * time.Second)) },
		"mask with holes":     func(r *dhcpv4.DHCPv4) { r.UpdateOption(dhcpv4.OptSubnetMask(net.IPMask{255, 0, 255, 0})) },
		"mask of nothing":     func(r *dhcpv4.DHCPv4) { r.UpdateOption(dhcpv4.OptSubnetMask(net.IPMask{0, 0, 0, 0})) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &server{answer: func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
				r := reply(s.t, m, addr, dhcpv4.WithLeaseTime(1000))
				bad(r)
				return r
			}}
			if applied := run(t, s, 3*time.Second); applied != nil {
				t.Errorf("applied the invalid offer %+v", applied[0])
			}
		})
	}
}

func TestClasslessRoutesReplaceTheRouter(t *testing.T) {
	s := &server{answer: func(s *server, m *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
		dst := []*dhcpv4.Route{
			{Dest: &net.IPNet{IP: net.IPv4(10, 128, 0, 1).To4(), Mask: net.CIDRMask(32, 32)}, Router: net.IPv4zero},
			{Dest: &net.IPNet{IP: net.IPv4(172, 16, 0, 0).To4(), Mask: net.CIDRMask(12, 32)}, Router: testServer},
			{Dest: &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, Router: net.IPv4(10, 128, 0, 1)},
		}
		return reply(s.t, m, net.IPv4(10, 128, 0, 7), dhcpv4.WithLeaseTime(1000), dhcpv4.WithNetmask(net.CIDRMask(32, 32)),
			dhcpv4.WithOption(dhcpv4.OptClasslessStaticRoute(dst...)))
	}}
	applied := run(t, s, time.Second)
	want := []Route{
		{netip.MustParsePrefix("10.128.0.1/32"), netip.IPv4Unspecified()},
		{netip.MustParsePrefix("172.16.0.0/12"), netip.AddrFrom4([4]byte(testServer))},
		{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.128.0.1")},
	}
	if len(applied) == 0 || !reflect.DeepEqual(applied[0].Routes, want) {
		t.Errorf("applied %+v, want routes %v", applied, want)
	}
}

// Options may continue in the fields for names, and an option may come in
// parts.
func TestOptionsInOverloadedFields(t *testing.T) {
	b := newMessage(offer, testMAC, 7, 0, netip.Addr{}).b
	b[offOp] = opReply
	copy(b[offYIAddr:], []byte{10, 0, 2, 15})
	b = append(b, optOverload, 1, 3, optDNS, 2, 10, 0, optEnd)
	copy(b[offFile:], []byte{optDNS, 2, 2, 3, optServer, 4, 10, 0, 2, 2, optEnd})
	copy(b[offSName:], []byte{optPad, optLeaseTime, 4, 0, 0, 1, 0, optEnd})
	addr, opts, err := parse(b, testMAC, 7)
	if err != nil {
		t.Fatal(err)
	}
	l, err := opts.lease(addr)
	if err != nil || len(l.DNS) != 1 || l.DNS[0].String() != "10.0.2.3" || l.Expire != 256*time.Second || l.Addr.Bits() != 8 {
		t.Errorf("lease is %+v, error %v", l, err)
	}
}

func TestDomainsWithUnsafeCharactersAreIgnored(t *testing.T) {
	for in, want := range map[string]string{"a.b-c_1": "a.b-c_1", "a\x00": "a", "a\nnameserver 6.6.6.6": "", "a b": ""} {
		if got := domain([]byte(in)); got != want {
			t.Errorf("domain(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	b := newMessage(offer, testMAC, 7, 0, netip.Addr{})
	b.b[offOp] = opReply
	b.add(optServer, 10, 0, 2, 2)
	b.add(optLeaseTime, 0, 0, 1, 0)
	b.add(optRoutes, 0, 10, 0, 2, 2)
	b.add(optOverload, 3)
	f.Add(b.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, opts, err := parse(b, testMAC, 7)
		if err != nil {
			return
		}
		l, err := opts.lease(addr)
		if err != nil {
			return
		}
		if !l.Addr.IsValid() || !host(l.Addr.Addr()) || !l.Server.Is4() || len(l.DNS) > maxServers || len(l.Routes) > maxRoutes ||
			l.Expire != 0 && !(0 < l.Renew && l.Renew < l.Rebind && l.Rebind < l.Expire) || l.MTU != 0 && l.MTU < minMTU {
			t.Errorf("parse accepted the invalid lease %+v", l)
		}
		for _, r := range l.Routes {
			if !r.To.IsValid() || r.To != r.To.Masked() {
				t.Errorf("parse accepted the invalid route %v", r)
			}
		}
	})
}
