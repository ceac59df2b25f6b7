package inet

import (
	"os"
	"testing"

	"github.com/pith-os/pith/libos/linux"
)

// bound returns a datagram socket bound to addr, and its address.
func (k *kernel) bound(addr []byte) (uintptr, []byte) {
	fd := k.socket(family(addr), linux.SOCK_DGRAM, 0)
	k.bind("bind", fd, addr)
	name, _ := k.addrOf(linux.SYS_GETSOCKNAME, fd)
	return fd, name
}

func TestDatagramsBetweenSockets(t *testing.T) {
	differ(t, func(k *kernel) {
		for _, addr := range [][]byte{inet4(127, 0, 0, 1, 0), inet6("::1", 0)} {
			a, nameA := k.bound(addr)
			b, nameB := k.bound(addr)
			k.poll("empty", a, tOut)
			k.recv("empty", a, 9, linux.MSG_DONTWAIT)
			k.send("send", a, "hello", 0, nameB)
			k.poll("arrived", b, tIn)
			k.recv("peek", b, 2, linux.MSG_PEEK)
			k.recv("peek all", b, 2, linux.MSG_PEEK|linux.MSG_TRUNC)
			k.recv("cut", b, 2, 0)
			k.recv("the rest is gone", b, 9, linux.MSG_DONTWAIT)
			k.send("empty datagram", a, "", 0, nameB)
			k.poll("arrived", b, tIn)
			k.recv("empty datagram", b, 9, 0)
			k.send("no destination", a, "x", 0, nil)
			k.send("port 0", a, "x", 0, withPort(addr, make([]byte, 4)))
			k.connect("connect", a, nameB)
			k.send("connected", a, "x", 0, nil)
			k.recv("connected", b, 9, 0)
			k.send("back", b, "y", 0, nameA)
			k.poll("back", a, tIn)
			k.recv("back", a, 9, 0)
			stranger, _ := k.bound(addr)
			k.send("stranger", stranger, "z", 0, nameA)
			k.poll("filtered", a, tOut)
			k.recv("filtered", a, 9, linux.MSG_DONTWAIT)
			k.connect("dissolve", a, append([]byte{0, 0}, make([]byte, 26)...))
			k.send("no destination", a, "x", 0, nil)
			_, errno := k.addrOf(linux.SYS_GETPEERNAME, a)
			k.note("peer: %v", errno)
		}
	})
}

func TestDatagramErrors(t *testing.T) {
	differ(t, func(k *kernel) {
		s := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
		k.do("shutdown unconnected", linux.SYS_SHUTDOWN, k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0), linux.SHUT_RDWR)
		k.send("unconnected", s, "x", 0, nil)
		k.do("listen", linux.SYS_LISTEN, s, 1)
		k.do("accept", linux.SYS_ACCEPT4, s, 0, 0, 0)
		k.send("v6 address", s, "x", 0, inet6("::1", 9))
		k.send("too long", s, string(make([]byte, 65508)), 0, inet4(127, 0, 0, 1, 9))
		k.send("broadcast", s, "x", 0, inet4(127, 255, 255, 255, 9))
		k.bind("not ours", s, inet4(192, 0, 2, 1, 0))

		gone, name := k.bound(inet4(127, 0, 0, 1, 0))
		k.do("close", linux.SYS_CLOSE, gone)
		k.connect("nobody", s, name)
		k.send("into the void", s, "x", 0, nil)
		k.poll("refused", s, 8)
		k.get("error", s, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.send("into the void", s, "x", 0, nil)
		k.poll("refused", s, 8)
		k.recv("recv", s, 1, linux.MSG_DONTWAIT)
		k.recv("recv", s, 1, linux.MSG_DONTWAIT)
		k.do("shutdown connected", linux.SYS_SHUTDOWN, s, linux.SHUT_WR)
		k.send("shut", s, "x", 0, nil)
		k.do("shutdown read", linux.SYS_SHUTDOWN, s, linux.SHUT_RD)
		k.recv("shut", s, 1, 0)

		a, nameA := k.bound(inet4(127, 0, 0, 1, 0))
		k.bind("again", a, nameA)
		b := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
		k.bind("in use", b, nameA)
		k.do("close", linux.SYS_CLOSE, a)
		for _, s := range []uintptr{k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0), b} {
			k.setInt("reuse", s, linux.SOL_SOCKET, linux.SO_REUSEADDR, 1)
			k.bind("shared", s, nameA)
		}
	})
}

// datagramOptions are options to read, set and read again.
var datagramOptions = []struct {
	domain             int
	label              string
	level, name, value int
}{
	{linux.AF_INET, "ttl", linux.SOL_IP, linux.IP_TTL, 5},
	{linux.AF_INET, "ttl default", linux.SOL_IP, linux.IP_TTL, -1},
	{linux.AF_INET, "tos", linux.SOL_IP, linux.IP_TOS, 0x10},
	{linux.AF_INET, "multicast ttl", linux.SOL_IP, linux.IP_MULTICAST_TTL, 3},
	{linux.AF_INET, "multicast loop", linux.SOL_IP, linux.IP_MULTICAST_LOOP, 0},
	{linux.AF_INET, "recvttl", linux.SOL_IP, linux.IP_RECVTTL, 1},
	{linux.AF_INET, "recvtos", linux.SOL_IP, linux.IP_RECVTOS, 1},
	{linux.AF_INET, "pktinfo", linux.SOL_IP, linux.IP_PKTINFO, 1},
	{linux.AF_INET, "recverr", linux.SOL_IP, linux.IP_RECVERR, 1},
	{linux.AF_INET, "v6only", linux.SOL_IPV6, linux.IPV6_V6ONLY, 1},
	{linux.AF_INET, "nodelay", linux.SOL_TCP, linux.TCP_NODELAY, 1},
	{linux.AF_INET6, "v6only", linux.SOL_IPV6, linux.IPV6_V6ONLY, 1},
	{linux.AF_INET6, "hops", linux.SOL_IPV6, linux.IPV6_UNICAST_HOPS, 7},
	{linux.AF_INET6, "hops 256", linux.SOL_IPV6, linux.IPV6_UNICAST_HOPS, 256},
	{linux.AF_INET6, "multicast hops", linux.SOL_IPV6, linux.IPV6_MULTICAST_HOPS, 7},
	{linux.AF_INET6, "multicast loop", linux.SOL_IPV6, linux.IPV6_MULTICAST_LOOP, 0},
	{linux.AF_INET6, "multicast if", linux.SOL_IPV6, linux.IPV6_MULTICAST_IF, 1},
	{linux.AF_INET6, "no such if", linux.SOL_IPV6, linux.IPV6_MULTICAST_IF, 4711},
	{linux.AF_INET6, "recvhoplimit", linux.SOL_IPV6, linux.IPV6_RECVHOPLIMIT, 1},
	{linux.AF_INET6, "broadcast", linux.SOL_SOCKET, linux.SO_BROADCAST, 1},
}

func TestDatagramOptions(t *testing.T) {
	differ(t, func(k *kernel) {
		for _, o := range datagramOptions {
			s := k.socket(o.domain, linux.SOCK_DGRAM, 0)
			k.get(o.label, s, o.level, o.name, 4)
			k.setInt(o.label, s, o.level, o.name, o.value)
			k.get(o.label, s, o.level, o.name, 4)
		}
	})
}

func TestMulticastMembership(t *testing.T) {
	differ(t, func(k *kernel) {
		s, name := k.bound(inet4(0, 0, 0, 0, 0))
		mreq := []byte{239, 1, 2, 3, 127, 0, 0, 1}
		k.set("join", s, linux.SOL_IP, linux.IP_ADD_MEMBERSHIP, mreq)
		k.set("join twice", s, linux.SOL_IP, linux.IP_ADD_MEMBERSHIP, mreq)
		k.set("not multicast", s, linux.SOL_IP, linux.IP_ADD_MEMBERSHIP, []byte{10, 1, 2, 3, 127, 0, 0, 1})
		k.set("short", s, linux.SOL_IP, linux.IP_ADD_MEMBERSHIP, mreq[:4])
		k.set("interface", s, linux.SOL_IP, linux.IP_MULTICAST_IF, mreq[4:])
		k.get("interface", s, linux.SOL_IP, linux.IP_MULTICAST_IF, 4)
		k.send("to group", s, "all", 0, withPort(inet4(239, 1, 2, 3, 0), name))
		k.poll("from group", s, tIn)
		k.recv("from group", s, 9, linux.MSG_DONTWAIT)
		k.set("leave", s, linux.SOL_IP, linux.IP_DROP_MEMBERSHIP, mreq)
		k.set("leave twice", s, linux.SOL_IP, linux.IP_DROP_MEMBERSHIP, mreq)
	})
}

func TestForcedDatagramBuffers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("Linux permits SO_RCVBUFFORCE only for root")
	}
	differ(t, func(k *kernel) {
		s := k.socket(linux.AF_INET, linux.SOCK_DGRAM, 0)
		k.setInt("receive", s, linux.SOL_SOCKET, linux.SO_RCVBUFFORCE, 7<<20)
		k.get("receive", s, linux.SOL_SOCKET, linux.SO_RCVBUF, 4)
		k.setInt("send", s, linux.SOL_SOCKET, linux.SO_SNDBUFFORCE, 7<<20)
		k.get("send", s, linux.SOL_SOCKET, linux.SO_SNDBUF, 4)
	})
}
