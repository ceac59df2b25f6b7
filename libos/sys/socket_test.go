package sys

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

const (
	stream    = linux.SOCK_STREAM
	dgram     = linux.SOCK_DGRAM
	seqpacket = linux.SOCK_SEQPACKET
)

// unixAddr is a struct sockaddr_un: a path, or an abstract name with its zero.
func unixAddr(name string) []byte {
	sa := append([]byte{linux.AF_UNIX, 0}, name...)
	if name != "" && name[0] != 0 {
		sa = append(sa, 0)
	}
	return sa
}

// abstract is a name that no other run of the test has.
func abstract(k *kernel, s string) string {
	return fmt.Sprintf("\x00pith-test-%s-%d-%s", k.name, os.Getpid(), s)
}

func (k *kernel) named(label string, num int, fd uintptr, name string) {
	sa := unixAddr(name)
	k.do(label, num, fd, addr(&sa[0]), uintptr(len(sa)))
}

func (k *kernel) socket(t *testing.T, typ int) uintptr {
	t.Helper()
	return k.fd(t, linux.SYS_SOCKET, linux.AF_UNIX, uintptr(typ), 0)
}

func (k *kernel) socketpair(t *testing.T, typ int) (a, b uintptr) {
	t.Helper()
	return k.pair(t, linux.SYS_SOCKETPAIR, linux.AF_UNIX, uintptr(typ), 0)
}

func (k *kernel) sendto(label string, fd uintptr, s string, flags int, name string) {
	b := []byte(s + "\x00")
	var p, n uintptr
	if name != "" {
		sa := unixAddr(name)
		p, n = addr(&sa[0]), uintptr(len(sa))
	}
	k.do(label, linux.SYS_SENDTO, fd, addr(&b[0]), uintptr(len(s)), uintptr(flags), p, n)
}

func (k *kernel) recvfrom(label string, fd uintptr, n, flags int) {
	b, sa, salen := make([]byte, n+1), new([128]byte), new(int32)
	*salen = 128
	r, errno := k.raw(linux.SYS_RECVFROM, fd, addr(&b[0]), uintptr(n), uintptr(flags), addr(sa), addr(salen))
	if errno != 0 {
		k.note("%s: %v", label, unix.Errno(errno))
		return
	}
	k.note("%s = %d %s from %s", label, r, brief(b[:min(int(r), n)]), k.masked(sa[:max(*salen, 0)]))
}

// masked is a socket address without what differs between kernels.
func (k *kernel) masked(sa []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("%q", sa), "-"+k.name+"-", "-")
}

func (k *kernel) sockname(label string, num int, fd uintptr) {
	sa, n := new([128]byte), new(int32)
	*n = 128
	_, errno := k.raw(num, fd, addr(sa), addr(n))
	k.note("%s: %s %v", label, k.masked(sa[:min(max(*n, 0), 128)]), unix.Errno(errno))
}

func (k *kernel) option(label string, fd uintptr, level, name, size int) {
	val, n := make([]byte, 64), new(int32)
	*n = int32(size)
	_, errno := k.raw(linux.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(name), addr(&val[0]), addr(n))
	k.note("%s: %v %v", label, val[:max(*n, 0)], unix.Errno(errno))
}

func TestSocketErrorsAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		un := uintptr(linux.AF_UNIX)
		k.do("family", linux.SYS_SOCKET, 99, stream, 0)
		k.do("type", linux.SYS_SOCKET, un, 15, 0)
		k.do("type of the family", linux.SYS_SOCKET, un, 4, 0)
		k.do("flags", linux.SYS_SOCKET, un, stream|0x100, 0)
		k.do("protocol", linux.SYS_SOCKET, un, stream, 77)
		k.do("pair null", linux.SYS_SOCKETPAIR, un, stream, 0, 0)
		s := k.socket(t, stream)
		e := k.fd(t, linux.SYS_EVENTFD2, 0, 0)
		sa := unixAddr(abstract(k, "e"))
		k.do("not a socket", linux.SYS_BIND, e, addr(&sa[0]), uintptr(len(sa)))
		k.do("not open", linux.SYS_LISTEN, 9999, 1)
		k.do("too long", linux.SYS_BIND, s, addr(&sa[0]), 129)
		k.do("longer than sun_path", linux.SYS_BIND, s, addr(new([128]byte)), 128)
		k.do("no family", linux.SYS_BIND, s, addr(&sa[0]), 1)
		k.do("null address", linux.SYS_BIND, s, 0, 10)
		k.do("other family", linux.SYS_BIND, s, addr(&[4]byte{2}), 4)
		k.do("listen unbound", linux.SYS_LISTEN, s, 1)
		k.do("accept no listener", linux.SYS_ACCEPT, s, 0, 0)
		k.do("accept flags", linux.SYS_ACCEPT4, s, 0, 0, 1)
		k.do("shutdown how", linux.SYS_SHUTDOWN, s, 3)
		k.named("nobody", linux.SYS_CONNECT, s, abstract(k, "none"))
		k.named("no path", linux.SYS_CONNECT, s, "/tmp/no/such/socket")
		k.named("not a socket", linux.SYS_CONNECT, s, "/dev/null")
		k.sockname("unnamed", linux.SYS_GETSOCKNAME, s)
		k.sockname("no peer", linux.SYS_GETPEERNAME, s)
		k.write("unconnected", s, "x")
		k.read("unconnected", s, 1)
		k.sendto("to somebody", s, "x", 0, abstract(k, "none"))
		k.level("unconnected", s)
		k.close(s, e)
		p := k.socket(t, seqpacket)
		k.write("unconnected packet", p, "x")
		k.read("unconnected packet", p, 1)
		d := k.socket(t, dgram)
		k.do("listen dgram", linux.SYS_LISTEN, d, 1)
		k.do("accept dgram", linux.SYS_ACCEPT, d, 0, 0)
		k.write("unconnected dgram", d, "x")
		k.sendto("to nobody", d, "x", 0, abstract(k, "none"))
		k.level("dgram", d)
		k.sendto("out of band", d, "x", linux.MSG_OOB, "")
		k.recvfrom("out of band", d, 1, linux.MSG_OOB)
		k.close(p, d)
	})
}

func TestSocketpairStreamAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		a, b := k.socketpair(t, stream|nonblock)
		k.read("empty", a, 10)
		k.write("1", a, "hello ")
		k.write("2", a, "world")
		k.level("b", b)
		k.recvfrom("peek", b, 8, linux.MSG_PEEK)
		k.read("8", b, 8)
		k.recvfrom("rest", b, 100, 0)
		k.sendto("to an address", a, "x", 0, abstract(k, "any"))
		k.write("nothing", a, "")
		k.sockname("own", linux.SYS_GETSOCKNAME, a)
		k.sockname("peer", linux.SYS_GETPEERNAME, a)
		k.named("again", linux.SYS_CONNECT, a, abstract(k, "none"))
		k.do("listen", linux.SYS_LISTEN, a, 1)
		k.do("half-close", linux.SYS_SHUTDOWN, a, linux.SHUT_WR)
		k.level("a", a)
		k.level("b", b)
		k.read("end", b, 10)
		k.sendto("after shutdown", a, "x", linux.MSG_NOSIGNAL, "")
		k.write("other way", b, "back")
		k.read("other way", a, 10)
		n := new(int32)
		k.write("more", b, "12345")
		k.do("FIONREAD", linux.SYS_IOCTL, a, linux.FIONREAD, addr(n))
		k.note("%d", *n)
		k.close(a)
		k.level("b", b)
		k.read("reset: unread data", b, 10)
		k.read("end", b, 10)
		k.sendto("to the closed", b, "x", linux.MSG_NOSIGNAL, "")
		k.option("error", b, linux.SOL_SOCKET, linux.SO_ERROR, 4)
		k.close(b)
	})
}

func TestSocketpairPacketsAsLinux(t *testing.T) {
	for _, typ := range []int{seqpacket, dgram} {
		differ(t, func(t *testing.T, k *kernel) {
			a, b := k.socketpair(t, typ|nonblock)
			k.write("one", a, "one")
			k.write("empty", a, "")
			k.write("three", a, "three")
			k.recvfrom("cut", b, 2, 0)
			k.recvfrom("empty", b, 10, 0)
			k.recvfrom("peek with length", b, 2, linux.MSG_PEEK|linux.MSG_TRUNC)
			k.recvfrom("length", b, 2, linux.MSG_TRUNC)
			k.recvfrom("none", b, 2, 0)
			k.write("too long", a, strings.Repeat("x", 300000))
			k.do("shut", linux.SYS_SHUTDOWN, a, linux.SHUT_WR)
			k.sendto("after shutdown", a, "x", linux.MSG_NOSIGNAL, "")
			k.level("a", a)
			k.level("b", b)
			k.write("back", b, "back")
			k.read("back", a, 10)
			k.close(a)
			k.level("b", b)
			k.sendto("to the closed", b, "x", linux.MSG_NOSIGNAL, "")
			k.sendto("to the closed", b, "x", linux.MSG_NOSIGNAL, "")
			k.close(b)
		})
	}
}

func TestUnixListenerAsLinux(t *testing.T) {
	for _, typ := range []int{stream, seqpacket} {
		for _, path := range []bool{false, true} {
			differ(t, func(t *testing.T, k *kernel) {
				name := abstract(k, "listener")
				if path {
					name = fmt.Sprintf("/tmp/pith-test-%s-%d-%d", k.name, typ, os.Getpid())
					defer func() {
						b := []byte(name + "\x00")
						k.do("unlink", linux.SYS_UNLINK, addr(&b[0]))
					}()
				}
				l := k.socket(t, typ|nonblock)
				k.named("bind", linux.SYS_BIND, l, name)
				k.named("bind again", linux.SYS_BIND, l, name+"2")
				other := k.socket(t, typ|nonblock)
				k.named("in use", linux.SYS_BIND, other, name)
				k.named("not listening", linux.SYS_CONNECT, other, name)
				k.do("listen", linux.SYS_LISTEN, l, 1)
				k.named("listener connects", linux.SYS_CONNECT, l, name)
				k.level("listener", l)
				k.do("accept none", linux.SYS_ACCEPT, l, 0, 0)
				c := k.socket(t, typ|nonblock)
				k.named("connect", linux.SYS_CONNECT, c, name)
				k.named("connect again", linux.SYS_CONNECT, c, name)
				k.level("client", c)
				k.level("listener", l)
				k.write("before accept", c, "early")
				k.named("second", linux.SYS_CONNECT, other, name)
				third := k.socket(t, typ|nonblock)
				k.named("backlog full", linux.SYS_CONNECT, third, name)
				sa, n := new([128]byte), new(int32)
				*n = 128
				s := k.fd(t, linux.SYS_ACCEPT4, l, addr(sa), addr(n), nonblock)
				k.note("from %q", sa[:*n])
				k.named("room again", linux.SYS_CONNECT, third, name)
				k.sockname("server's", linux.SYS_GETSOCKNAME, s)
				k.sockname("server's peer", linux.SYS_GETPEERNAME, s)
				k.sockname("client's peer", linux.SYS_GETPEERNAME, c)
				k.read("early", s, 10)
				k.write("answer", s, "answer")
				k.recvfrom("answer", c, 10, 0)
				k.option("accepts", l, linux.SOL_SOCKET, linux.SO_ACCEPTCONN, 4)
				k.option("accepts not", s, linux.SOL_SOCKET, linux.SO_ACCEPTCONN, 4)
				k.write("to the unaccepted", other, "lost")
				k.close(l)
				k.level("unaccepted", other)
				k.read("unaccepted", other, 10)
				k.close(s)
				k.read("closed", c, 10)
				last := k.socket(t, typ|nonblock)
				k.named("gone", linux.SYS_CONNECT, last, name)
				k.named("other type", linux.SYS_CONNECT, k.socket(t, dgram), name)
				k.close(c, other, third, last)
			})
		}
	}
}

func TestUnixDatagramsAsLinux(t *testing.T) {
	if b, _ := os.ReadFile("/proc/sys/net/unix/max_dgram_qlen"); string(b) != "10\n" {
		t.Skip("net.unix.max_dgram_qlen is not the kernel's default, 10")
	}
	differ(t, func(t *testing.T, k *kernel) {
		a, b, c := k.socket(t, dgram|nonblock), k.socket(t, dgram|nonblock), k.socket(t, dgram|nonblock)
		na, nb := abstract(k, "a"), abstract(k, "b")
		k.named("bind", linux.SYS_BIND, a, na)
		k.named("bind", linux.SYS_BIND, b, nb)
		k.sendto("to b", a, "one", 0, nb)
		k.sendto("to b unnamed", c, "two", 0, nb)
		k.recvfrom("b", b, 10, 0)
		k.recvfrom("b", b, 10, 0)
		k.named("connect", linux.SYS_CONNECT, b, na)
		k.sockname("peer", linux.SYS_GETPEERNAME, b)
		k.write("b", b, "three")
		k.recvfrom("a", a, 10, 0)
		k.sendto("b hears only a", c, "x", 0, nb)
		k.named("b hears only a", linux.SYS_CONNECT, c, nb)
		k.sendto("a may", a, "four", 0, nb)
		k.recvfrom("b", b, 10, 0)
		for i := range 12 {
			k.sendto("fill", c, fmt.Sprint(i), 0, na)
		}
		k.level("a", a)
		k.level("b has no room at a", b)
		k.recvfrom("a", a, 10, 0)
		k.recvfrom("a", a, 10, 0)
		k.level("b has room", b)
		k.do("dissolve", linux.SYS_CONNECT, b, addr(&[2]byte{0, 0}), 2)
		k.sockname("no peer", linux.SYS_GETPEERNAME, b)
		k.write("no peer", b, "x")
		k.named("connect", linux.SYS_CONNECT, b, na)
		k.close(a)
		k.write("refused", b, "x")
		k.write("no peer any more", b, "x")
		k.close(b, c)
	})
}

func TestUnixAutobindNamesASocket(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		s := k.socket(t, dgram)
		k.do("autobind", linux.SYS_BIND, s, addr(&[2]byte{linux.AF_UNIX}), 2)
		sa, n := new([128]byte), new(int32)
		*n = 128
		k.do("name", linux.SYS_GETSOCKNAME, s, addr(sa), addr(n))
		k.note("%d bytes, %d", *n, sa[2])
		k.close(s)
	})
}

func TestUnixOptionsAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		a, b := k.socketpair(t, stream)
		for _, o := range []struct {
			name      string
			opt, size int
		}{
			{name: "type", opt: linux.SO_TYPE}, {name: "domain", opt: linux.SO_DOMAIN},
			{name: "protocol", opt: linux.SO_PROTOCOL}, {name: "error", opt: linux.SO_ERROR},
			{name: "passcred", opt: linux.SO_PASSCRED}, {name: "reuseaddr", opt: linux.SO_REUSEADDR},
			{name: "keepalive", opt: linux.SO_KEEPALIVE}, {name: "lowat", opt: linux.SO_RCVLOWAT},
			{name: "short", opt: linux.SO_TYPE, size: 2}, {name: "long", opt: linux.SO_TYPE, size: 8},
			{name: "linger", opt: linux.SO_LINGER, size: 8}, {name: "rcvtimeo", opt: linux.SO_RCVTIMEO, size: 16},
			{name: "unknown", opt: 4000},
		} {
			size := o.size
			if size == 0 {
				size = 4
			}
			k.option(o.name, a, linux.SOL_SOCKET, o.opt, size)
		}
		k.option("level", a, linux.SOL_TCP, 1, 4)
		set := func(label string, opt int, v any, n uintptr) {
			switch v := v.(type) {
			case int32:
				k.do(label, linux.SYS_SETSOCKOPT, a, linux.SOL_SOCKET, uintptr(opt), addr(&v), n)
			case linux.Timeval:
				k.do(label, linux.SYS_SETSOCKOPT, a, linux.SOL_SOCKET, uintptr(opt), addr(&v), n)
			}
		}
		set("sndbuf", linux.SO_SNDBUF, int32(10000), 4)
		k.option("sndbuf", a, linux.SOL_SOCKET, linux.SO_SNDBUF, 4)
		set("sndbuf least", linux.SO_SNDBUF, int32(1), 4)
		k.option("sndbuf least", a, linux.SOL_SOCKET, linux.SO_SNDBUF, 4)
		set("short", linux.SO_REUSEADDR, int32(1), 2)
		set("unknown", 4000, int32(1), 4)
		set("timeout", linux.SO_RCVTIMEO, linux.Timeval{Usec: 8000}, 16)
		k.option("timeout", a, linux.SOL_SOCKET, linux.SO_RCVTIMEO, 16)
		set("bad timeout", linux.SO_RCVTIMEO, linux.Timeval{Usec: 1e6}, 16)
		set("short timeout", linux.SO_RCVTIMEO, linux.Timeval{}, 8)
		k.read("times out", a, 10)
		k.recvfrom("times out", a, 10, 0)
		k.recvfrom("does not wait", b, 10, linux.MSG_DONTWAIT)
		k.do("null", linux.SYS_SETSOCKOPT, a, linux.SOL_SOCKET, linux.SO_REUSEADDR, 0, 4)
		k.close(a, b)
	})
}

// msg is a struct msghdr with what it points to.
func msg(control []byte, name []byte, bufs ...[]byte) *linux.Msghdr {
	h := new(linux.Msghdr)
	if len(bufs) > 0 {
		iov := make([]linux.Iovec, len(bufs))
		for i, b := range bufs {
			iov[i] = linux.Iovec{Base: addr(&b[0]), Len: uint64(len(b))}
		}
		h.Iov, h.Iovlen = addr(&iov[0]), uint64(len(iov))
	}
	if len(control) > 0 {
		h.Control, h.Controllen = addr(&control[0]), uint64(len(control))
	}
	if len(name) > 0 {
		h.Name, h.Namelen = addr(&name[0]), uint32(len(name))
	}
	return h
}

func (k *kernel) recvmsg(label string, fd uintptr, n, control, flags int) (fds []int32) {
	b, oob := make([]byte, n), make([]byte, control+1)
	h := msg(oob[:control], nil, b)
	r, errno := k.raw(linux.SYS_RECVMSG, fd, addr(h), uintptr(flags))
	if errno != 0 {
		k.note("%s: %v", label, unix.Errno(errno))
		return nil
	}
	k.note("%s = %d %s flags %#x control %d", label, r, brief(b[:min(int(r), n)]), h.Flags, h.Controllen)
	msgs, err := unix.ParseSocketControlMessage(oob[:h.Controllen])
	if err != nil {
		k.note("  %v", err)
	}
	for _, m := range msgs {
		k.note("  %d %d: %d bytes", m.Header.Level, m.Header.Type, len(m.Data))
		if m.Header.Type == linux.SCM_RIGHTS {
			fds = append(fds, unsafe.Slice((*int32)(unsafe.Pointer(&m.Data[0])), len(m.Data)/4)...)
		}
	}
	return fds
}

func (k *kernel) sendmsg(label string, fd uintptr, flags int, h *linux.Msghdr) {
	k.do(label, linux.SYS_SENDMSG, fd, addr(h), uintptr(flags))
}

func TestUnixPassesFilesAsLinux(t *testing.T) {
	for _, typ := range []int{stream, dgram, seqpacket} {
		differ(t, func(t *testing.T, k *kernel) {
			a, b := k.socketpair(t, typ|nonblock)
			r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
			rights := func(fds ...uintptr) []byte {
				ints := make([]int, len(fds))
				for i, fd := range fds {
					ints[i] = int(int32(fd))
				}
				return unix.UnixRights(ints...)
			}
			k.sendmsg("one", a, 0, msg(rights(w), nil, []byte("one"), []byte("+two")))
			k.close(w) // the message keeps it open
			k.level("r", r)
			fds := k.recvmsg("one", b, 100, 64, linux.MSG_CMSG_CLOEXEC)
			k.note("%d files", len(fds))
			if len(fds) != 1 {
				t.Fatalf("%s: no file came", k.name)
			}
			k.do("close-on-exec", linux.SYS_FCNTL, uintptr(fds[0]), linux.F_GETFD)
			k.write("through it", uintptr(fds[0]), "hello")
			k.read("through it", r, 10)
			k.close(uintptr(fds[0]))
			k.read("closed now", r, 10)

			k.sendmsg("no such file", a, 0, msg(rights(9999), nil, []byte("x")))
			k.sendmsg("bad length", a, 0, msg([]byte{8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, nil, []byte("x")))
			k.sendmsg("two", a, 0, msg(rights(r, a), nil, []byte("two")))
			fds = k.recvmsg("room for one", b, 100, 20, 0)
			k.note("%d files", len(fds))
			for _, fd := range fds {
				k.close(uintptr(fd))
			}
			k.sendmsg("again", a, 0, msg(rights(r), nil, []byte("again")))
			fds = k.recvmsg("no room", b, 100, 0, 0)
			k.sendmsg("again", a, 0, msg(rights(r), nil, []byte("again")))
			k.read("read drops it", b, 100)
			k.sendmsg("peeked", a, 0, msg(rights(r), nil, []byte("peeked")))
			fds = append(fds, k.recvmsg("peek", b, 3, 64, linux.MSG_PEEK)...)
			fds = append(fds, k.recvmsg("taken", b, 100, 64, 0)...)
			k.note("%d files", len(fds))
			for _, fd := range fds {
				k.close(uintptr(fd))
			}
			k.close(a, b, r)
		})
	}
}

func TestUnixStreamKeepsFilesWithTheirBytesAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		a, b := k.socketpair(t, stream|nonblock)
		k.write("before", a, "before")
		k.sendmsg("with", a, 0, msg(unix.UnixRights(int(a)), nil, []byte("with")))
		k.write("after", a, "after")
		for range 3 {
			for _, fd := range k.recvmsg("recv", b, 100, 64, 0) {
				k.close(uintptr(fd))
			}
		}
		k.close(a, b)
	})
}

func TestUnixCredentials(t *testing.T) {
	a, b := func() (uintptr, uintptr) {
		k := &kernel{name: "pith", call: Call}
		return k.socketpair(t, dgram|nonblock)
	}()
	k := &kernel{name: "pith", call: Call}
	on := int32(1)
	k.raw(linux.SYS_SETSOCKOPT, b, linux.SOL_SOCKET, linux.SO_PASSCRED, addr(&on), 4)
	k.write("", a, "x")
	oob, buf := make([]byte, 64), make([]byte, 8)
	h := msg(oob, nil, buf)
	if _, errno := k.raw(linux.SYS_RECVMSG, b, addr(h), 0); errno != 0 {
		t.Fatal(errno)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:h.Controllen])
	if err != nil || len(msgs) != 1 {
		t.Fatal(msgs, err)
	}
	cred, err := unix.ParseUnixCredentials(&msgs[0])
	if err != nil || *cred != (unix.Ucred{Pid: 1}) {
		t.Fatal(cred, err)
	}
	n, peer := new(int32), new(linux.Ucred)
	*n = 12
	k.raw(linux.SYS_GETSOCKOPT, a, linux.SOL_SOCKET, linux.SO_PEERCRED, addr(peer), addr(n))
	if *peer != (linux.Ucred{PID: 1}) {
		t.Fatal(*peer)
	}
	k.close(a, b)
}

func TestManyMessagesAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		a, b := k.socketpair(t, dgram|nonblock)
		out := make([]linux.Mmsghdr, 3)
		for i := range out {
			out[i].Hdr = *msg(nil, nil, fmt.Appendf(nil, "message %d", i*i*i*i))
		}
		k.do("sendmmsg", linux.SYS_SENDMMSG, a, addr(&out[0]), 3, 0)
		k.note("%d %d %d", out[0].Len, out[1].Len, out[2].Len)
		in := make([]linux.Mmsghdr, 5)
		for i := range in {
			in[i].Hdr = *msg(nil, nil, make([]byte, 10))
		}
		k.do("recvmmsg", linux.SYS_RECVMMSG, b, addr(&in[0]), 5, 0, 0)
		for i := range in {
			k.note("%d %#x", in[i].Len, in[i].Hdr.Flags)
		}
		k.do("none", linux.SYS_RECVMMSG, b, addr(&in[0]), 5, 0, 0)
		k.do("no vector", linux.SYS_RECVMMSG, b, 0, 0, 0, 0)
		k.do("bad time", linux.SYS_RECVMMSG, b, addr(&in[0]), 5, 0, addr(&linux.Timespec{Nsec: -1}))
		k.do("too many buffers", linux.SYS_SENDMSG, a, addr(&linux.Msghdr{Iov: 4096, Iovlen: 1025}), 0)
		k.close(a, b)
	})
}

func TestReadvOfSocketsAsLinux(t *testing.T) {
	for _, typ := range []int{stream, dgram} {
		differ(t, func(t *testing.T, k *kernel) {
			a, b := k.socketpair(t, typ|nonblock)
			x, y := []byte("...."), []byte("........")
			iov := &[2]linux.Iovec{{Base: addr(&x[0]), Len: 4}, {Base: addr(&y[0]), Len: 8}}
			k.do("empty", linux.SYS_READV, b, addr(&iov[0]), 2)
			k.write("one", a, "one and")
			k.write("two", a, "two")
			k.do("nothing", linux.SYS_READV, b, addr(&iov[0]), 0)
			k.do("first", linux.SYS_READV, b, addr(&iov[0]), 2)
			k.note("%s %s", x, y)
			k.do("second", linux.SYS_READV, b, addr(&iov[0]), 2)
			k.note("%s %s", x, y)
			k.do("writev", linux.SYS_WRITEV, a, addr(&iov[0]), 2)
			k.recvfrom("writev", b, 100, 0)
			k.close(a, b)
		})
	}
}

func TestWritevOfSocketsAsLinux(t *testing.T) {
	for _, typ := range []int{stream, dgram} {
		differ(t, func(t *testing.T, k *kernel) {
			a, b := k.socketpair(t, typ|nonblock)
			x := []byte("one and")
			iov := &[2]linux.Iovec{{Base: addr(&x[0]), Len: 0}, {Base: addr(&x[0]), Len: 0}}
			k.do("nothing", linux.SYS_WRITEV, a, addr(&iov[0]), 2)
			k.recvfrom("nothing", b, 100, 0)
			k.close(b)
			iov[1].Len = uint64(len(x))
			k.do("no reader", linux.SYS_WRITEV, a, addr(&iov[0]), 2)
			k.close(a)
		})
	}
}

func TestWritevTakesWhatFits(t *testing.T) {
	const part, parts = 1 << 20, linux.IOV_MAX // together a gigabyte, of one buffer
	data := make([]byte, part)
	var iov [parts]linux.Iovec
	for i := range iov {
		iov[i] = linux.Iovec{Base: addr(&data[0]), Len: part}
	}
	differ(t, func(t *testing.T, k *kernel) {
		a, b := k.socketpair(t, stream|nonblock)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, errno := k.raw(linux.SYS_WRITEV, a, addr(&iov[0]), parts)
		runtime.ReadMemStats(&after)
		k.note("errno %d, some %v, all %v", errno, n > 0, n == part*parts)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%d MiB allocated", used>>20)
		}
		k.close(a, b)
	})
}

func TestStreamBlocksAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		a, b := k.socketpair(t, stream)
		const size = 1 << 20
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i / 1000)
		}
		done := make(chan uintptr)
		go func() {
			n, _ := k.raw(linux.SYS_SENDTO, a, addr(&data[0]), size, 0, 0, 0)
			done <- n
		}()
		got := make([]byte, size)
		k.do("all of it", linux.SYS_RECVFROM, b, addr(&got[0]), size, linux.MSG_WAITALL, 0, 0)
		k.note("sent %d, equal %v", <-done, string(got) == string(data))
		go func() {
			time.Sleep(2 * time.Millisecond)
			k.raw(linux.SYS_CLOSE, a)
			done <- 0
		}()
		k.read("wakes at close", b, 10)
		<-done
		k.close(b)
	})
}

func TestConnectWaitsForRoomAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		name := abstract(k, "room")
		l := k.socket(t, stream)
		k.named("bind", linux.SYS_BIND, l, name)
		k.do("listen", linux.SYS_LISTEN, l, 0)
		a, b := k.socket(t, stream), k.socket(t, stream)
		k.named("first", linux.SYS_CONNECT, a, name)
		done := make(chan bool)
		go func() {
			time.Sleep(5 * time.Millisecond)
			conn, _ := k.raw(linux.SYS_ACCEPT, l, 0, 0)
			k.close(conn)
			done <- true
		}()
		k.named("second waits", linux.SYS_CONNECT, b, name)
		<-done
		k.close(a, b, l)
	})
}
