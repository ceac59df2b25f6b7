package inet

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
)

const (
	tIn    = int16(0x1)
	tOut   = int16(0x4)
	tRdHup = int16(0x2000)
)

func TestStreamConversation(t *testing.T) {
	differ(t, func(k *kernel) {
		c, s := k.pair()
		k.poll("new", c, tOut)
		k.send("send", c, "hello", 0, nil)
		k.poll("data", s, tIn)
		k.recv("peek", s, 3, linux.MSG_PEEK)
		k.recv("recv", s, 3, 0)
		k.recv("rest", s, 10, 0)
		k.recv("empty", s, 10, linux.MSG_DONTWAIT)
		k.send("back", s, "world", 0, nil)
		k.recv("back", c, 5, linux.MSG_WAITALL)
		k.do("shutdown write", linux.SYS_SHUTDOWN, c, linux.SHUT_WR)
		k.poll("half closed", s, tIn|tRdHup)
		k.recv("end", s, 10, 0)
		k.send("after shutdown", c, "x", 0, nil)
		k.send("other way", s, "still open", 0, nil)
		k.recv("other way", c, 20, 0)
		k.do("close", linux.SYS_CLOSE, s)
		k.poll("closed", c, tIn|tRdHup)
		k.recv("end", c, 10, 0)
		k.recv("end again", c, 10, 0)
	})
}

func TestErrorsOfUnconnectedStream(t *testing.T) {
	differ(t, func(k *kernel) {
		s := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
		k.poll("new", s, tOut)
		k.recv("recv", s, 1, 0)
		k.send("send", s, "x", 0, nil)
		k.do("shutdown", linux.SYS_SHUTDOWN, s, linux.SHUT_RDWR)
		k.do("shutdown of nothing", linux.SYS_SHUTDOWN, s, 3)
		_, errno := k.addrOf(linux.SYS_GETPEERNAME, s)
		k.note("peer: %v", errno)
		name, errno := k.addrOf(linux.SYS_GETSOCKNAME, s)
		k.note("name: %x %v", name, errno)
		k.do("accept", linux.SYS_ACCEPT4, s, 0, 0, 0)
		k.bind("short", s, []byte{2, 0, 0})
		k.bind("family", s, inet6("::1", 0))
		k.bind("not ours", s, inet4(192, 0, 2, 1, 0))
		k.connect("short", s, []byte{2, 0, 0})
		k.connect("family", s, append([]byte{1, 0}, make([]byte, 14)...))
		k.bind("ok", s, inet4(127, 0, 0, 1, 0))
		k.bind("again", s, inet4(127, 0, 0, 1, 0))
		k.connect("unspec", s, append([]byte{0, 0}, make([]byte, 14)...))
		k.do("listen", linux.SYS_LISTEN, s, 1)
		k.connect("listening", s, inet4(127, 0, 0, 1, 9))
		k.recv("listening", s, 1, 0)
		k.send("listening", s, "x", 0, nil)
		k.do("listen again", linux.SYS_LISTEN, s, 5)
	})
}

func TestConnectionRefused(t *testing.T) {
	differ(t, func(k *kernel) {
		l, name := k.listener(inet4(127, 0, 0, 1, 0))
		k.do("close", linux.SYS_CLOSE, l)
		c := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
		k.connect("blocking", c, name)
		n := k.socket(linux.AF_INET, linux.SOCK_STREAM|linux.SOCK_NONBLOCK, 0)
		k.connect("non-blocking", n, name)
		k.poll("refused", n, tIn|tRdHup)
		k.get("error", n, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.get("error again", n, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.send("send", n, "x", 0, nil)
		k.recv("recv", n, 1, 0)
	})
}

func TestNonBlockingConnect(t *testing.T) {
	differ(t, func(k *kernel) {
		_, name := k.listener(inet4(127, 0, 0, 1, 0))
		c := k.socket(linux.AF_INET, linux.SOCK_STREAM|linux.SOCK_NONBLOCK, 0)
		k.connect("start", c, name)
		k.poll("connected", c, tOut)
		k.get("error", c, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.connect("second", c, name)
		k.connect("third", c, name)
		k.recv("nothing yet", c, 1, 0)
		peer, errno := k.addrOf(linux.SYS_GETPEERNAME, c)
		k.note("peer is listener: %v %v", string(peer) == string(name), errno)
	})
}

func TestAddressInUse(t *testing.T) {
	differ(t, func(k *kernel) {
		_, name := k.listener(inet4(127, 0, 0, 1, 0))
		for _, opt := range []int{0, linux.SO_REUSEADDR, linux.SO_REUSEPORT} {
			s := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
			if opt != 0 {
				k.setInt("reuse", s, linux.SOL_SOCKET, opt, 1)
			}
			k.bind("second", s, name)
			w := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
			k.bind("wildcard", w, withPort(inet4(0, 0, 0, 0, 0), name))
		}
		a, b := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0), k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
		k.setInt("port a", a, linux.SOL_SOCKET, linux.SO_REUSEPORT, 1)
		k.setInt("port b", b, linux.SOL_SOCKET, linux.SO_REUSEPORT, 1)
		k.bind("a", a, inet4(127, 0, 0, 1, 0))
		name, _ = k.addrOf(linux.SYS_GETSOCKNAME, a)
		k.bind("b", b, name)
		k.do("listen a", linux.SYS_LISTEN, a, 1)
		k.do("listen b", linux.SYS_LISTEN, b, 1)
	})
}

func TestAListenersAddressIsNotShared(t *testing.T) {
	addresses := []struct {
		label string
		at    []byte
	}{
		{"127.0.0.1", inet4(127, 0, 0, 1, 0)},
		{"127.0.0.2", inet4(127, 0, 0, 2, 0)},
		{"0.0.0.0", inet4(0, 0, 0, 0, 0)},
		{"::1", inet6("::1", 0)},
		{"::", inet6("::", 0)},
		{"mapped", inet6("::ffff:127.0.0.1", 0)},
		{"elsewhere", inet4(192, 0, 2, 1, 0)},
	}
	socket := func(k *kernel, at []byte, v6only int) uintptr {
		s := k.socket(int(at[0]), linux.SOCK_STREAM, 0)
		k.setInt("reuse", s, linux.SOL_SOCKET, linux.SO_REUSEADDR, 1)
		if at[0] == linux.AF_INET6 {
			k.setInt("v6only", s, linux.IPPROTO_IPV6, linux.IPV6_V6ONLY, v6only)
		}
		return s
	}
	differ(t, func(k *kernel) {
		for v6only := range 2 {
			for _, first := range addresses[:len(addresses)-1] {
				if first.label == "mapped" && v6only == 1 {
					continue
				}
				l := socket(k, first.at, v6only)
				k.bind(first.label, l, first.at)
				name, _ := k.addrOf(linux.SYS_GETSOCKNAME, l)
				k.do("listen", linux.SYS_LISTEN, l, 1)
				for _, second := range addresses {
					k.note("%s and %s, v6only %d", first.label, second.label, v6only)
					k.bind("second", socket(k, second.at, v6only), withPort(second.at, name))
				}
			}
		}
		a, b := socket(k, addresses[0].at, 0), socket(k, addresses[2].at, 0)
		k.bind("a", a, addresses[0].at)
		name, _ := k.addrOf(linux.SYS_GETSOCKNAME, a)
		k.bind("b, nobody listens", b, withPort(addresses[2].at, name))
		k.do("listen a", linux.SYS_LISTEN, a, 1)
		k.do("listen b", linux.SYS_LISTEN, b, 1)
		k.do("listen a again", linux.SYS_LISTEN, a, 2)
	})
}

func TestResetAndBrokenPipe(t *testing.T) {
	differ(t, func(k *kernel) {
		c, s := k.pair()
		k.set("linger", s, linux.SOL_SOCKET, linux.SO_LINGER, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		k.do("close", linux.SYS_CLOSE, s)
		k.poll("reset", c, tIn|tRdHup)
		k.recv("recv", c, 1, 0)
		k.recv("recv again", c, 1, 0)
		k.send("send", c, "x", 0, nil)

		c, s = k.pair()
		k.send("unread", c, "data", 0, nil)
		k.poll("data", s, tIn)
		k.do("close with unread data", linux.SYS_CLOSE, s)
		k.poll("reset", c, tIn|tRdHup)
		k.get("error", c, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.send("send", c, "x", 0, nil)

		c, s = k.pair()
		k.do("shutdown read", linux.SYS_SHUTDOWN, c, linux.SHUT_RD)
		k.recv("shut", c, 1, 0)
		k.do("shutdown both", linux.SYS_SHUTDOWN, c, linux.SHUT_RDWR)
		k.poll("peer", s, tIn|tRdHup)
		k.poll("both", c, tIn|tRdHup)
		k.recv("peer", s, 1, 0)
	})
}

func TestDualStack(t *testing.T) {
	differ(t, func(k *kernel) {
		l, name := k.listener(inet6("::", 0))
		for _, to := range [][]byte{inet4(127, 0, 0, 1, 0), inet6("::1", 0), inet6("::ffff:127.0.0.1", 0)} {
			c := k.socket(family(to), linux.SOCK_STREAM, 0)
			k.connect("connect", c, withPort(to, name))
			s := k.accept(l)
			peer, errno := k.addrOf(linux.SYS_GETPEERNAME, s)
			k.note("server sees %x %v", withPort(peer, make([]byte, 4)), errno)
			own, errno := k.addrOf(linux.SYS_GETSOCKNAME, s)
			k.note("server is %x %v", withPort(own, make([]byte, 4)), errno)
			own, errno = k.addrOf(linux.SYS_GETSOCKNAME, c)
			k.note("client is %x %v", withPort(own, make([]byte, 4)), errno)
		}
		v6 := k.socket(linux.AF_INET6, linux.SOCK_STREAM, 0)
		k.get("default", v6, linux.SOL_IPV6, linux.IPV6_V6ONLY, 4)
		k.setInt("v6only", v6, linux.SOL_IPV6, linux.IPV6_V6ONLY, 1)
		k.bind("mapped", v6, inet6("::ffff:127.0.0.1", 0))
		k.connect("mapped", v6, withPort(inet6("::ffff:127.0.0.1", 0), name))
		k.bind("any", v6, inet6("::", 0))
		k.setInt("too late", v6, linux.SOL_IPV6, linux.IPV6_V6ONLY, 0)
		k.do("listen", linux.SYS_LISTEN, v6, 1)
		only, _ := k.addrOf(linux.SYS_GETSOCKNAME, v6)
		c := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
		k.connect("v4 to v6only", c, withPort(inet4(127, 0, 0, 1, 0), only))
		v4 := k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
		k.bind("v4 beside v6only", v4, withPort(inet4(0, 0, 0, 0, 0), only))
		c6 := k.socket(linux.AF_INET6, linux.SOCK_STREAM, 0)
		k.bind("v4 address", c6, inet4(127, 0, 0, 1, 0))
		k.connect("v4 address", c6, withPort(inet4(127, 0, 0, 1, 0), name))
	})
}

func TestUnspecifiedDestinationIsLoopback(t *testing.T) {
	differ(t, func(k *kernel) {
		for _, any := range [][]byte{inet4(0, 0, 0, 0, 0), inet6("::", 0)} {
			l, name := k.listener(any)
			c := k.socket(family(any), linux.SOCK_STREAM, 0)
			k.connect("connect", c, name)
			k.accept(l)
			peer, errno := k.addrOf(linux.SYS_GETPEERNAME, c)
			k.note("peer %x %v", withPort(peer, make([]byte, 4)), errno)
		}
	})
}

func TestStreamOptions(t *testing.T) {
	differ(t, func(k *kernel) {
		s := k.socket(linux.AF_INET6, linux.SOCK_STREAM, 0)
		for _, o := range []struct {
			label              string
			level, name, value int
		}{
			{"type", linux.SOL_SOCKET, linux.SO_TYPE, 1},
			{"domain", linux.SOL_SOCKET, linux.SO_DOMAIN, 1},
			{"protocol", linux.SOL_SOCKET, linux.SO_PROTOCOL, 1},
			{"acceptconn", linux.SOL_SOCKET, linux.SO_ACCEPTCONN, 1},
			{"reuseaddr", linux.SOL_SOCKET, linux.SO_REUSEADDR, 5},
			{"reuseport", linux.SOL_SOCKET, linux.SO_REUSEPORT, 1},
			{"keepalive", linux.SOL_SOCKET, linux.SO_KEEPALIVE, 1},
			{"broadcast", linux.SOL_SOCKET, linux.SO_BROADCAST, 1},
			{"rcvbuf", linux.SOL_SOCKET, linux.SO_RCVBUF, 70000},
			{"sndbuf", linux.SOL_SOCKET, linux.SO_SNDBUF, 70000},
			{"nodelay", linux.SOL_TCP, linux.TCP_NODELAY, 1},
			{"cork", linux.SOL_TCP, linux.TCP_CORK, 1},
			{"keepidle", linux.SOL_TCP, linux.TCP_KEEPIDLE, 15},
			{"keepidle 0", linux.SOL_TCP, linux.TCP_KEEPIDLE, 0},
			{"keepintvl", linux.SOL_TCP, linux.TCP_KEEPINTVL, 15},
			{"keepcnt", linux.SOL_TCP, linux.TCP_KEEPCNT, 4},
			{"keepcnt 128", linux.SOL_TCP, linux.TCP_KEEPCNT, 128},
			{"user timeout", linux.SOL_TCP, linux.TCP_USER_TIMEOUT, 3000},
			{"ttl", linux.SOL_IP, linux.IP_TTL, 5},
			{"ttl 0", linux.SOL_IP, linux.IP_TTL, 0},
			{"ttl 256", linux.SOL_IP, linux.IP_TTL, 256},
			{"hops", linux.SOL_IPV6, linux.IPV6_UNICAST_HOPS, 5},
			{"tclass", linux.SOL_IPV6, linux.IPV6_TCLASS, 0x20},
			{"recvpktinfo", linux.SOL_IPV6, linux.IPV6_RECVPKTINFO, 1},
			{"unknown socket option", linux.SOL_SOCKET, 9999, 1},
			{"unknown tcp option", linux.SOL_TCP, 9999, 1},
			{"unknown ip option", linux.SOL_IP, 9999, 1},
			{"unknown ipv6 option", linux.SOL_IPV6, 9999, 1},
		} {
			if o.name != linux.SO_RCVBUF && o.name != linux.SO_SNDBUF { // the host's defaults differ
				k.get(o.label, s, o.level, o.name, 4)
			}
			k.setInt(o.label, s, o.level, o.name, o.value)
			k.get(o.label, s, o.level, o.name, 4)
		}
		k.set("congestion", s, linux.SOL_TCP, linux.TCP_CONGESTION, []byte("reno"))
		k.set("congestion", s, linux.SOL_TCP, linux.TCP_CONGESTION, []byte("nonesuch"))
		k.set("no device", s, linux.SOL_SOCKET, linux.SO_BINDTODEVICE, []byte("nonesuch0"))
		k.set("lo", s, linux.SOL_SOCKET, linux.SO_BINDTODEVICE, []byte("lo"))
		k.get("device", s, linux.SOL_SOCKET, linux.SO_BINDTODEVICE, 16)
		k.set("short", s, linux.SOL_TCP, linux.TCP_NODELAY, []byte{1})
		k.get("linger", s, linux.SOL_SOCKET, linux.SO_LINGER, 8)
		k.set("linger", s, linux.SOL_SOCKET, linux.SO_LINGER, []byte{1, 0, 0, 0, 9, 0, 0, 0})
		k.get("linger", s, linux.SOL_SOCKET, linux.SO_LINGER, 8)
		k.do("listen", linux.SYS_LISTEN, s, 1)
		k.get("acceptconn", s, linux.SOL_SOCKET, linux.SO_ACCEPTCONN, 4)
	})
}

func TestSocketArguments(t *testing.T) {
	differ(t, func(k *kernel) {
		for _, a := range [][3]int{
			{linux.AF_INET, linux.SOCK_STREAM, linux.IPPROTO_UDP},
			{linux.AF_INET, linux.SOCK_DGRAM, linux.IPPROTO_TCP},
			{linux.AF_INET, linux.SOCK_SEQPACKET, 0},
			{linux.AF_INET, linux.SOCK_RAW, 0},
			{linux.AF_INET, linux.SOCK_STREAM, -1},
			{linux.AF_INET, linux.SOCK_STREAM, 256},
			{linux.AF_INET6, linux.SOCK_DGRAM, linux.IPPROTO_ICMP},
			{linux.AF_NETLINK, linux.SOCK_STREAM, 0},
		} {
			k.socket(a[0], a[1], a[2])
		}
	})
}
