package sockets_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"

	"golang.org/x/sys/unix"
)

const (
	nonblock  = linux.O_NONBLOCK
	stream    = linux.SOCK_STREAM
	dgram     = linux.SOCK_DGRAM
	seqpacket = linux.SOCK_SEQPACKET
)

// unixAddr returns a struct sockaddr_un for a path, or for an abstract name with its
// leading zero.
func unixAddr(name string) []byte {
	sa := append([]byte{linux.AF_UNIX, 0}, name...)
	if name != "" && name[0] != 0 {
		sa = append(sa, 0)
	}
	return sa
}

// abstract returns an abstract name that no other run of the test uses.
func abstract(k *systest.Kernel, s string) string {
	return fmt.Sprintf("\x00pith-test-%s-%d-%s", k.Name, os.Getpid(), s)
}

func named(k *systest.Kernel, label string, num int, fd uintptr, name string) {
	sa := unixAddr(name)
	k.Do(label, num, fd, systest.Addr(&sa[0]), uintptr(len(sa)))
}

func socket(k *systest.Kernel, t *testing.T, typ int) uintptr {
	t.Helper()
	return k.FD(t, linux.SYS_SOCKET, linux.AF_UNIX, uintptr(typ), 0)
}

func sendto(k *systest.Kernel, label string, fd uintptr, s string, flags int, name string) {
	b := []byte(s + "\x00")
	var p, n uintptr
	if name != "" {
		sa := unixAddr(name)
		p, n = systest.Addr(&sa[0]), uintptr(len(sa))
	}
	k.Do(label, linux.SYS_SENDTO, fd, systest.Addr(&b[0]), uintptr(len(s)), uintptr(flags), p, n)
}

func sockname(k *systest.Kernel, label string, num int, fd uintptr) {
	sa, n := new([128]byte), new(int32)
	*n = 128
	_, errno := k.Raw(num, fd, systest.Addr(sa), systest.Addr(n))
	k.Note("%s: %s %v", label, k.Masked(sa[:min(max(*n, 0), 128)]), unix.Errno(errno))
}

func option(k *systest.Kernel, label string, fd uintptr, level, name, size int) {
	val, n := make([]byte, 64), new(int32)
	*n = int32(size)
	_, errno := k.Raw(linux.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(name), systest.Addr(&val[0]), systest.Addr(n))
	k.Note("%s: %v %v", label, val[:max(*n, 0)], unix.Errno(errno))
}

func TestSocketErrorsAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		un := uintptr(linux.AF_UNIX)
		k.Do("family", linux.SYS_SOCKET, 99, stream, 0)
		k.Do("type", linux.SYS_SOCKET, un, 15, 0)
		k.Do("type of the family", linux.SYS_SOCKET, un, 4, 0)
		k.Do("flags", linux.SYS_SOCKET, un, stream|0x100, 0)
		k.Do("protocol", linux.SYS_SOCKET, un, stream, 77)
		k.Do("pair null", linux.SYS_SOCKETPAIR, un, stream, 0, 0)
		s := socket(k, t, stream)
		e := k.FD(t, linux.SYS_EVENTFD2, 0, 0)
		sa := unixAddr(abstract(k, "e"))
		k.Do("not a socket", linux.SYS_BIND, e, systest.Addr(&sa[0]), uintptr(len(sa)))
		k.Do("not open", linux.SYS_LISTEN, 9999, 1)
		k.Do("too long", linux.SYS_BIND, s, systest.Addr(&sa[0]), 129)
		k.Do("longer than sun_path", linux.SYS_BIND, s, systest.Addr(new([128]byte)), 128)
		k.Do("no family", linux.SYS_BIND, s, systest.Addr(&sa[0]), 1)
		k.Do("null address", linux.SYS_BIND, s, 0, 10)
		k.Do("other family", linux.SYS_BIND, s, systest.Addr(&[4]byte{2}), 4)
		k.Do("listen unbound", linux.SYS_LISTEN, s, 1)
		k.Do("accept no listener", linux.SYS_ACCEPT, s, 0, 0)
		k.Do("accept flags", linux.SYS_ACCEPT4, s, 0, 0, 1)
		k.Do("shutdown how", linux.SYS_SHUTDOWN, s, 3)
		named(k, "nobody", linux.SYS_CONNECT, s, abstract(k, "none"))
		named(k, "no path", linux.SYS_CONNECT, s, "/tmp/no/such/socket")
		named(k, "not a socket", linux.SYS_CONNECT, s, "/dev/null")
		sockname(k, "unnamed", linux.SYS_GETSOCKNAME, s)
		sockname(k, "no peer", linux.SYS_GETPEERNAME, s)
		k.Write("unconnected", s, "x")
		k.Read("unconnected", s, 1)
		sendto(k, "to somebody", s, "x", 0, abstract(k, "none"))
		k.Level("unconnected", s)
		k.Close(s, e)
		p := socket(k, t, seqpacket)
		k.Write("unconnected packet", p, "x")
		k.Read("unconnected packet", p, 1)
		d := socket(k, t, dgram)
		k.Do("listen dgram", linux.SYS_LISTEN, d, 1)
		k.Do("accept dgram", linux.SYS_ACCEPT, d, 0, 0)
		k.Write("unconnected dgram", d, "x")
		sendto(k, "to nobody", d, "x", 0, abstract(k, "none"))
		k.Level("dgram", d)
		sendto(k, "out of band", d, "x", linux.MSG_OOB, "")
		k.Recvfrom("out of band", d, 1, linux.MSG_OOB)
		k.Close(p, d)
	})
}

func TestSocketpairStreamAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b := k.Socketpair(t, stream|nonblock)
		k.Read("empty", a, 10)
		k.Write("1", a, "hello ")
		k.Write("2", a, "world")
		k.Level("b", b)
		k.Recvfrom("peek", b, 8, linux.MSG_PEEK)
		k.Read("8", b, 8)
		k.Recvfrom("rest", b, 100, 0)
		sendto(k, "to an address", a, "x", 0, abstract(k, "any"))
		k.Write("nothing", a, "")
		sockname(k, "own", linux.SYS_GETSOCKNAME, a)
		sockname(k, "peer", linux.SYS_GETPEERNAME, a)
		named(k, "again", linux.SYS_CONNECT, a, abstract(k, "none"))
		k.Do("listen", linux.SYS_LISTEN, a, 1)
		k.Do("half-close", linux.SYS_SHUTDOWN, a, linux.SHUT_WR)
		k.Level("a", a)
		k.Level("b", b)
		k.Read("end", b, 10)
		sendto(k, "after shutdown", a, "x", linux.MSG_NOSIGNAL, "")
		k.Write("other way", b, "back")
		k.Read("other way", a, 10)
		n := new(int32)
		k.Write("more", b, "12345")
		k.Do("FIONREAD", linux.SYS_IOCTL, a, linux.FIONREAD, systest.Addr(n))
		k.Note("%d", *n)
		k.Close(a)
		k.Level("b", b)
		k.Read("reset: unread data", b, 10)
		k.Read("end", b, 10)
		sendto(k, "to the closed", b, "x", linux.MSG_NOSIGNAL, "")
		option(k, "error", b, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.Close(b)
	})
}

func TestSocketpairPacketsAsLinux(t *testing.T) {
	for _, typ := range []int{seqpacket, dgram} {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			a, b := k.Socketpair(t, typ|nonblock)
			k.Write("one", a, "one")
			k.Write("empty", a, "")
			k.Write("three", a, "three")
			k.Recvfrom("cut", b, 2, 0)
			k.Recvfrom("empty", b, 10, 0)
			k.Recvfrom("peek with length", b, 2, linux.MSG_PEEK|linux.MSG_TRUNC)
			k.Recvfrom("length", b, 2, linux.MSG_TRUNC)
			k.Recvfrom("none", b, 2, 0)
			k.Write("too long", a, strings.Repeat("x", 300000))
			k.Do("shut", linux.SYS_SHUTDOWN, a, linux.SHUT_WR)
			sendto(k, "after shutdown", a, "x", linux.MSG_NOSIGNAL, "")
			k.Level("a", a)
			k.Level("b", b)
			k.Write("back", b, "back")
			k.Read("back", a, 10)
			k.Close(a)
			k.Level("b", b)
			sendto(k, "to the closed", b, "x", linux.MSG_NOSIGNAL, "")
			sendto(k, "to the closed", b, "x", linux.MSG_NOSIGNAL, "")
			k.Close(b)
		})
	}
}

func TestUnixListenerAsLinux(t *testing.T) {
	for _, typ := range []int{stream, seqpacket} {
		for _, path := range []bool{false, true} {
			systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
				name := abstract(k, "listener")
				if path {
					name = fmt.Sprintf("/tmp/pith-test-%s-%d-%d", k.Name, typ, os.Getpid())
					defer func() {
						b := []byte(name + "\x00")
						k.Do("unlink", linux.SYS_UNLINK, systest.Addr(&b[0]))
					}()
				}
				l := socket(k, t, typ|nonblock)
				named(k, "bind", linux.SYS_BIND, l, name)
				named(k, "bind again", linux.SYS_BIND, l, name+"2")
				other := socket(k, t, typ|nonblock)
				named(k, "in use", linux.SYS_BIND, other, name)
				named(k, "not listening", linux.SYS_CONNECT, other, name)
				k.Do("listen", linux.SYS_LISTEN, l, 1)
				named(k, "listener connects", linux.SYS_CONNECT, l, name)
				k.Level("listener", l)
				k.Do("accept none", linux.SYS_ACCEPT, l, 0, 0)
				c := socket(k, t, typ|nonblock)
				named(k, "connect", linux.SYS_CONNECT, c, name)
				named(k, "connect again", linux.SYS_CONNECT, c, name)
				k.Level("client", c)
				k.Level("listener", l)
				k.Write("before accept", c, "early")
				named(k, "second", linux.SYS_CONNECT, other, name)
				third := socket(k, t, typ|nonblock)
				named(k, "backlog full", linux.SYS_CONNECT, third, name)
				sa, n := new([128]byte), new(int32)
				*n = 128
				s := k.FD(t, linux.SYS_ACCEPT4, l, systest.Addr(sa), systest.Addr(n), nonblock)
				k.Note("from %q", sa[:*n])
				named(k, "room again", linux.SYS_CONNECT, third, name)
				sockname(k, "server's", linux.SYS_GETSOCKNAME, s)
				sockname(k, "server's peer", linux.SYS_GETPEERNAME, s)
				sockname(k, "client's peer", linux.SYS_GETPEERNAME, c)
				k.Read("early", s, 10)
				k.Write("answer", s, "answer")
				k.Recvfrom("answer", c, 10, 0)
				option(k, "accepts", l, linux.SOL_SOCKET, linux.SO_ACCEPTCONN, 4)
				option(k, "accepts not", s, linux.SOL_SOCKET, linux.SO_ACCEPTCONN, 4)
				k.Write("to the unaccepted", other, "lost")
				k.Close(l)
				k.Level("unaccepted", other)
				k.Read("unaccepted", other, 10)
				k.Close(s)
				k.Read("closed", c, 10)
				last := socket(k, t, typ|nonblock)
				named(k, "gone", linux.SYS_CONNECT, last, name)
				named(k, "other type", linux.SYS_CONNECT, socket(k, t, dgram), name)
				k.Close(c, other, third, last)
			})
		}
	}
}

func TestUnixDatagramsAsLinux(t *testing.T) {
	if b, _ := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen"); string(b) != "10\n" {
		t.Skip("net.unix.max_dgram_qlen is not the kernel's default, 10")
	}
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b, c := socket(k, t, dgram|nonblock), socket(k, t, dgram|nonblock), socket(k, t, dgram|nonblock)
		na, nb := abstract(k, "a"), abstract(k, "b")
		named(k, "bind", linux.SYS_BIND, a, na)
		named(k, "bind", linux.SYS_BIND, b, nb)
		sendto(k, "to b", a, "one", 0, nb)
		sendto(k, "to b unnamed", c, "two", 0, nb)
		k.Recvfrom("b", b, 10, 0)
		k.Recvfrom("b", b, 10, 0)
		named(k, "connect", linux.SYS_CONNECT, b, na)
		sockname(k, "peer", linux.SYS_GETPEERNAME, b)
		k.Write("b", b, "three")
		k.Recvfrom("a", a, 10, 0)
		sendto(k, "b hears only a", c, "x", 0, nb)
		named(k, "b hears only a", linux.SYS_CONNECT, c, nb)
		sendto(k, "a may", a, "four", 0, nb)
		k.Recvfrom("b", b, 10, 0)
		for i := range 12 {
			sendto(k, "fill", c, fmt.Sprint(i), 0, na)
		}
		k.Level("a", a)
		k.Level("b has no room at a", b)
		k.Recvfrom("a", a, 10, 0)
		k.Recvfrom("a", a, 10, 0)
		k.Level("b has room", b)
		k.Do("dissolve", linux.SYS_CONNECT, b, systest.Addr(&[2]byte{0, 0}), 2)
		sockname(k, "no peer", linux.SYS_GETPEERNAME, b)
		k.Write("no peer", b, "x")
		named(k, "connect", linux.SYS_CONNECT, b, na)
		k.Close(a)
		k.Write("refused", b, "x")
		k.Write("no peer any more", b, "x")
		k.Close(b, c)
	})
}

func TestUnixAutobindNamesASocket(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		s := socket(k, t, dgram)
		k.Do("autobind", linux.SYS_BIND, s, systest.Addr(&[2]byte{linux.AF_UNIX}), 2)
		sa, n := new([128]byte), new(int32)
		*n = 128
		k.Do("name", linux.SYS_GETSOCKNAME, s, systest.Addr(sa), systest.Addr(n))
		k.Note("%d bytes, %d", *n, sa[2])
		k.Close(s)
	})
}
