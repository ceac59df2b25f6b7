package sockets_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
	"golang.org/x/sys/unix"
)

func TestUnixOptionsAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b := k.Socketpair(t, stream)
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
			option(k, o.name, a, linux.SOL_SOCKET, o.opt, size)
		}
		option(k, "level", a, linux.SOL_TCP, 1, 4)
		set := func(label string, opt int, v any, n uintptr) {
			switch v := v.(type) {
			case int32:
				k.Do(label, linux.SYS_SETSOCKOPT, a, linux.SOL_SOCKET, uintptr(opt), systest.Addr(&v), n)
			case linux.Timeval:
				k.Do(label, linux.SYS_SETSOCKOPT, a, linux.SOL_SOCKET, uintptr(opt), systest.Addr(&v), n)
			}
		}
		set("sndbuf", linux.SO_SNDBUF, int32(10000), 4)
		option(k, "sndbuf", a, linux.SOL_SOCKET, linux.SO_SNDBUF, 4)
		set("sndbuf least", linux.SO_SNDBUF, int32(1), 4)
		option(k, "sndbuf least", a, linux.SOL_SOCKET, linux.SO_SNDBUF, 4)
		set("short", linux.SO_REUSEADDR, int32(1), 2)
		set("unknown", 4000, int32(1), 4)
		set("timeout", linux.SO_RCVTIMEO, linux.Timeval{Usec: 8000}, 16)
		option(k, "timeout", a, linux.SOL_SOCKET, linux.SO_RCVTIMEO, 16)
		set("bad timeout", linux.SO_RCVTIMEO, linux.Timeval{Usec: 1e6}, 16)
		set("short timeout", linux.SO_RCVTIMEO, linux.Timeval{}, 8)
		k.Read("times out", a, 10)
		k.Recvfrom("times out", a, 10, 0)
		k.Recvfrom("does not wait", b, 10, linux.MSG_DONTWAIT)
		k.Do("null", linux.SYS_SETSOCKOPT, a, linux.SOL_SOCKET, linux.SO_REUSEADDR, 0, 4)
		k.Close(a, b)
	})
}

// msg returns a struct msghdr and what it points to.
func msg(control []byte, name []byte, bufs ...[]byte) *linux.Msghdr {
	h := new(linux.Msghdr)
	if len(bufs) > 0 {
		iov := make([]linux.Iovec, len(bufs))
		for i, b := range bufs {
			iov[i] = linux.Iovec{Base: systest.Addr(&b[0]), Len: uint64(len(b))}
		}
		h.Iov, h.Iovlen = systest.Addr(&iov[0]), uint64(len(iov))
	}
	if len(control) > 0 {
		h.Control, h.Controllen = systest.Addr(&control[0]), uint64(len(control))
	}
	if len(name) > 0 {
		h.Name, h.Namelen = systest.Addr(&name[0]), uint32(len(name))
	}
	return h
}

func recvmsg(k *systest.Kernel, label string, fd uintptr, n, control, flags int) (fds []int32) {
	b, oob := make([]byte, n), make([]byte, control+1)
	h := msg(oob[:control], nil, b)
	r, errno := k.Raw(linux.SYS_RECVMSG, fd, systest.Addr(h), uintptr(flags))
	if errno != 0 {
		k.Note("%s: %v", label, unix.Errno(errno))
		return nil
	}
	k.Note("%s = %d %s flags %#x control %d", label, r, systest.Brief(b[:min(int(r), n)]), h.Flags, h.Controllen)
	msgs, err := unix.ParseSocketControlMessage(oob[:h.Controllen])
	if err != nil {
		k.Note("  %v", err)
	}
	for _, m := range msgs {
		k.Note("  %d %d: %d bytes", m.Header.Level, m.Header.Type, len(m.Data))
		if m.Header.Type == linux.SCM_RIGHTS {
			fds = append(fds, unsafe.Slice((*int32)(unsafe.Pointer(&m.Data[0])), len(m.Data)/4)...)
		}
	}
	return fds
}

func sendmsg(k *systest.Kernel, label string, fd uintptr, flags int, h *linux.Msghdr) {
	k.Do(label, linux.SYS_SENDMSG, fd, systest.Addr(h), uintptr(flags))
}

func TestUnixPassesFilesAsLinux(t *testing.T) {
	for _, typ := range []int{stream, dgram, seqpacket} {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			a, b := k.Socketpair(t, typ|nonblock)
			r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
			rights := func(fds ...uintptr) []byte {
				ints := make([]int, len(fds))
				for i, fd := range fds {
					ints[i] = int(int32(fd))
				}
				return unix.UnixRights(ints...)
			}
			sendmsg(k, "one", a, 0, msg(rights(w), nil, []byte("one"), []byte("+two")))
			k.Close(w) // the message keeps it open
			k.Level("r", r)
			fds := recvmsg(k, "one", b, 100, 64, linux.MSG_CMSG_CLOEXEC)
			k.Note("%d files", len(fds))
			if len(fds) != 1 {
				t.Fatalf("%s: no file came", k.Name)
			}
			k.Do("close-on-exec", linux.SYS_FCNTL, uintptr(fds[0]), linux.F_GETFD)
			k.Write("through it", uintptr(fds[0]), "hello")
			k.Read("through it", r, 10)
			k.Close(uintptr(fds[0]))
			k.Read("closed now", r, 10)

			sendmsg(k, "no such file", a, 0, msg(rights(9999), nil, []byte("x")))
			sendmsg(k, "bad length", a, 0, msg([]byte{8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}, nil, []byte("x")))
			sendmsg(k, "two", a, 0, msg(rights(r, a), nil, []byte("two")))
			fds = recvmsg(k, "room for one", b, 100, 20, 0)
			k.Note("%d files", len(fds))
			for _, fd := range fds {
				k.Close(uintptr(fd))
			}
			sendmsg(k, "again", a, 0, msg(rights(r), nil, []byte("again")))
			fds = recvmsg(k, "no room", b, 100, 0, 0)
			sendmsg(k, "again", a, 0, msg(rights(r), nil, []byte("again")))
			k.Read("read drops it", b, 100)
			sendmsg(k, "peeked", a, 0, msg(rights(r), nil, []byte("peeked")))
			fds = append(fds, recvmsg(k, "peek", b, 3, 64, linux.MSG_PEEK)...)
			fds = append(fds, recvmsg(k, "taken", b, 100, 64, 0)...)
			k.Note("%d files", len(fds))
			for _, fd := range fds {
				k.Close(uintptr(fd))
			}
			k.Close(a, b, r)
		})
	}
}

func TestUnixStreamKeepsFilesWithTheirBytesAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b := k.Socketpair(t, stream|nonblock)
		k.Write("before", a, "before")
		sendmsg(k, "with", a, 0, msg(unix.UnixRights(int(a)), nil, []byte("with")))
		k.Write("after", a, "after")
		for range 3 {
			for _, fd := range recvmsg(k, "recv", b, 100, 64, 0) {
				k.Close(uintptr(fd))
			}
		}
		k.Close(a, b)
	})
}

func TestUnixCredentials(t *testing.T) {
	a, b := func() (uintptr, uintptr) {
		k := systest.Ours()
		return k.Socketpair(t, dgram|nonblock)
	}()
	k := systest.Ours()
	on := int32(1)
	k.Raw(linux.SYS_SETSOCKOPT, b, linux.SOL_SOCKET, linux.SO_PASSCRED, systest.Addr(&on), 4)
	k.Write("", a, "x")
	oob, buf := make([]byte, 64), make([]byte, 8)
	h := msg(oob, nil, buf)
	if _, errno := k.Raw(linux.SYS_RECVMSG, b, systest.Addr(h), 0); errno != 0 {
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
	k.Raw(linux.SYS_GETSOCKOPT, a, linux.SOL_SOCKET, linux.SO_PEERCRED, systest.Addr(peer), systest.Addr(n))
	if *peer != (linux.Ucred{PID: 1}) {
		t.Fatal(*peer)
	}
	k.Close(a, b)
}

func TestManyMessagesAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b := k.Socketpair(t, dgram|nonblock)
		out := make([]linux.Mmsghdr, 3)
		for i := range out {
			out[i].Hdr = *msg(nil, nil, fmt.Appendf(nil, "message %d", i*i*i*i))
		}
		k.Do("sendmmsg", linux.SYS_SENDMMSG, a, systest.Addr(&out[0]), 3, 0)
		k.Note("%d %d %d", out[0].Len, out[1].Len, out[2].Len)
		in := make([]linux.Mmsghdr, 5)
		for i := range in {
			in[i].Hdr = *msg(nil, nil, make([]byte, 10))
		}
		k.Do("recvmmsg", linux.SYS_RECVMMSG, b, systest.Addr(&in[0]), 5, 0, 0)
		for i := range in {
			k.Note("%d %#x", in[i].Len, in[i].Hdr.Flags)
		}
		k.Do("none", linux.SYS_RECVMMSG, b, systest.Addr(&in[0]), 5, 0, 0)
		k.Do("no vector", linux.SYS_RECVMMSG, b, 0, 0, 0, 0)
		k.Do("bad time", linux.SYS_RECVMMSG, b, systest.Addr(&in[0]), 5, 0, systest.Addr(&linux.Timespec{Nsec: -1}))
		k.Do("too many buffers", linux.SYS_SENDMSG, a, systest.Addr(&linux.Msghdr{Iov: 4096, Iovlen: 1025}), 0)
		k.Close(a, b)
	})
}

func TestReadvOfSocketsAsLinux(t *testing.T) {
	for _, typ := range []int{stream, dgram} {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			a, b := k.Socketpair(t, typ|nonblock)
			x, y := []byte("...."), []byte("........")
			iov := &[2]linux.Iovec{{Base: systest.Addr(&x[0]), Len: 4}, {Base: systest.Addr(&y[0]), Len: 8}}
			k.Do("empty", linux.SYS_READV, b, systest.Addr(&iov[0]), 2)
			k.Write("one", a, "one and")
			k.Write("two", a, "two")
			k.Do("nothing", linux.SYS_READV, b, systest.Addr(&iov[0]), 0)
			k.Do("first", linux.SYS_READV, b, systest.Addr(&iov[0]), 2)
			k.Note("%s %s", x, y)
			k.Do("second", linux.SYS_READV, b, systest.Addr(&iov[0]), 2)
			k.Note("%s %s", x, y)
			k.Do("writev", linux.SYS_WRITEV, a, systest.Addr(&iov[0]), 2)
			k.Recvfrom("writev", b, 100, 0)
			k.Close(a, b)
		})
	}
}

func TestWritevOfSocketsAsLinux(t *testing.T) {
	for _, typ := range []int{stream, dgram} {
		systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
			a, b := k.Socketpair(t, typ|nonblock)
			x := []byte("one and")
			iov := &[2]linux.Iovec{{Base: systest.Addr(&x[0]), Len: 0}, {Base: systest.Addr(&x[0]), Len: 0}}
			k.Do("nothing", linux.SYS_WRITEV, a, systest.Addr(&iov[0]), 2)
			k.Recvfrom("nothing", b, 100, 0)
			k.Close(b)
			iov[1].Len = uint64(len(x))
			k.Do("no reader", linux.SYS_WRITEV, a, systest.Addr(&iov[0]), 2)
			k.Close(a)
		})
	}
}

func TestWritevTakesWhatFits(t *testing.T) {
	const part, parts = 1 << 20, linux.IOV_MAX // together a gigabyte, of one buffer
	data := make([]byte, part)
	var iov [parts]linux.Iovec
	for i := range iov {
		iov[i] = linux.Iovec{Base: systest.Addr(&data[0]), Len: part}
	}
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b := k.Socketpair(t, stream|nonblock)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, errno := k.Raw(linux.SYS_WRITEV, a, systest.Addr(&iov[0]), parts)
		runtime.ReadMemStats(&after)
		k.Note("errno %d, some %v, all %v", errno, n > 0, n == part*parts)
		if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
			t.Errorf("%d MiB allocated", used>>20)
		}
		k.Close(a, b)
	})
}

func TestStreamBlocksAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		a, b := k.Socketpair(t, stream)
		const size = 1 << 20
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i / 1000)
		}
		done := make(chan uintptr)
		go func() {
			n, _ := k.Raw(linux.SYS_SENDTO, a, systest.Addr(&data[0]), size, 0, 0, 0)
			done <- n
		}()
		got := make([]byte, size)
		k.Do("all of it", linux.SYS_RECVFROM, b, systest.Addr(&got[0]), size, linux.MSG_WAITALL, 0, 0)
		k.Note("sent %d, equal %v", <-done, string(got) == string(data))
		go func() {
			time.Sleep(2 * time.Millisecond)
			k.Raw(linux.SYS_CLOSE, a)
			done <- 0
		}()
		k.Read("wakes at close", b, 10)
		<-done
		k.Close(b)
	})
}

func TestConnectWaitsForRoomAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		name := abstract(k, "room")
		l := socket(k, t, stream)
		named(k, "bind", linux.SYS_BIND, l, name)
		k.Do("listen", linux.SYS_LISTEN, l, 0)
		a, b := socket(k, t, stream), socket(k, t, stream)
		named(k, "first", linux.SYS_CONNECT, a, name)
		done := make(chan bool)
		go func() {
			time.Sleep(5 * time.Millisecond)
			conn, _ := k.Raw(linux.SYS_ACCEPT, l, 0, 0)
			k.Close(conn)
			done <- true
		}()
		named(k, "second waits", linux.SYS_CONNECT, b, name)
		<-done
		k.Close(a, b, l)
	})
}
