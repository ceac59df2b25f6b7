package inet

import (
	"bytes"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// exchange sends b from s to addr, and returns the message that r then
// receives.
func exchange(t *testing.T, s, r socket.Socket, b, addr []byte) ([]byte, *socket.Message) {
	t.Helper()
	if _, errno := s.Send(&socket.Message{Data: [][]byte{b}, Addr: addr}, 0); errno != 0 {
		t.Fatalf("send: errno %d", errno)
	}
	buf := make([]byte, 2000)
	m := &socket.Message{Data: [][]byte{buf}}
	n := blocking(t, r, wait.In, func() (int, linux.Errno) { return r.Recv(m, 0) })
	return buf[:n], m
}

func TestPingSocketsAnswerFromLoopback(t *testing.T) {
	for _, c := range []struct {
		domain, proto  int
		addr           []byte
		request, reply byte
	}{
		{linux.AF_INET, linux.IPPROTO_ICMP, inet4(127, 0, 0, 1, 0), 8, 0},
		{linux.AF_INET6, linux.IPPROTO_ICMPV6, inet6("::1", 0), 128, 129},
	} {
		s, errno := open(c.domain, linux.SOCK_DGRAM, c.proto)
		if errno != 0 {
			t.Fatal(errno)
		}
		echo := []byte{c.request, 0, 0, 0, 0, 0, 0, 1, 'p', 'i', 't', 'h'}
		got, m := exchange(t, s, s, echo, c.addr)
		if got[0] != c.reply || !bytes.Equal(got[6:], echo[6:]) {
			t.Errorf("reply % x to request % x", got, echo)
		}
		if !bytes.Equal(m.Addr, c.addr) {
			t.Errorf("from %x, want %x", m.Addr, c.addr)
		}
		s.Release()
	}
}

func TestRawSocketSeesHeaders(t *testing.T) {
	r, errno := open(linux.AF_INET, linux.SOCK_RAW, linux.IPPROTO_UDP)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer r.Release()
	s, errno := open(linux.AF_INET, linux.SOCK_DGRAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer s.Release()
	got, _ := exchange(t, s, r, []byte("payload"), inet4(127, 0, 0, 1, 4711))
	if got[0] != 0x45 || got[9] != linux.IPPROTO_UDP || string(got[28:]) != "payload" {
		t.Errorf("packet % x, want an IPv4 and a UDP header before the payload", got)
	}
}

func TestPacketSocketSeesLoopback(t *testing.T) {
	const ethIP = 0x0800
	r, errno := openPacket(linux.SOCK_DGRAM, int(swap16(ethIP)))
	if errno != 0 {
		t.Fatal(errno)
	}
	defer r.Release()
	s, errno := open(linux.AF_INET, linux.SOCK_DGRAM, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer s.Release()
	got, m := exchange(t, s, r, []byte("payload"), inet4(127, 0, 0, 1, 4711))
	a, errno := socket.Get[linux.SockaddrLink](m.Addr)
	if errno != 0 || a.Family != linux.AF_PACKET || a.Ifindex != int32(loopbackNIC) || a.Protocol != [2]byte{8, 0} {
		t.Errorf("from %+v, want loopback", a)
	}
	if !bytes.HasSuffix(got, []byte("payload")) || got[0] != 0x45 {
		t.Errorf("packet % x, want an IPv4 header and the payload", got)
	}
}

func TestControlMessages(t *testing.T) {
	for _, c := range []struct {
		name               string
		domain             int
		addr               []byte
		level, option, typ int
		want               []byte
	}{
		{"TTL", linux.AF_INET, inet4(127, 0, 0, 1, 0), linux.SOL_IP, linux.IP_RECVTTL, linux.IP_TTL, []byte{defaultTTL, 0, 0, 0}},
		{"TOS", linux.AF_INET, inet4(127, 0, 0, 1, 0), linux.SOL_IP, linux.IP_RECVTOS, linux.IP_TOS, []byte{0}},
		{"destination", linux.AF_INET, inet4(127, 0, 0, 1, 0), linux.SOL_IP, linux.IP_PKTINFO, linux.IP_PKTINFO, []byte{1, 0, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1}},
		{"hop limit", linux.AF_INET6, inet6("::1", 0), linux.SOL_IPV6, linux.IPV6_RECVHOPLIMIT, linux.IPV6_HOPLIMIT, []byte{defaultTTL, 0, 0, 0}},
		{"destination of IPv6", linux.AF_INET6, inet6("::1", 0), linux.SOL_IPV6, linux.IPV6_RECVPKTINFO, linux.IPV6_PKTINFO, append(make([]byte, 15), 1, 1, 0, 0, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, errno := open(c.domain, linux.SOCK_DGRAM, 0)
			if errno == 0 {
				errno = r.Bind(c.addr)
			}
			if errno == 0 {
				errno = r.SetOption(c.level, c.option, []byte{1, 0, 0, 0})
			}
			if errno != 0 {
				t.Fatal(errno)
			}
			defer r.Release()
			name, _ := r.LocalAddr()
			_, m := exchange(t, r, r, []byte("x"), name)
			if len(m.Control) != 1 || m.Control[0].Level != c.level || m.Control[0].Type != c.typ || !bytes.Equal(m.Control[0].Data, c.want) {
				t.Errorf("control messages %v, want one of level %d type %d with % x", m.Control, c.level, c.typ, c.want)
			}
		})
	}
}
