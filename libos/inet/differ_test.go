package inet

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"

	"golang.org/x/sys/unix"
)

// kernel makes system calls, of Linux or of the library OS, and logs their
// results. A differential test runs the same calls on both and compares the
// logs.
type kernel struct {
	t    *testing.T
	name string
	call func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno)
	log  []string
	fds  []uintptr
	keep []any // memory that calls point to
}

// differ runs fn on Linux and on the library OS and requires equal logs.
func differ(t *testing.T, fn func(k *kernel)) {
	t.Helper()
	host := &kernel{t: t, name: "linux", call: func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno) {
		r, _, errno := unix.Syscall6(num, a1, a2, a3, a4, a5, a6)
		if errno != 0 {
			return 0, linux.Errno(errno)
		}
		return r, 0
	}}
	ours := &kernel{t: t, name: "pith", call: sys.Call}
	for _, k := range []*kernel{host, ours} {
		fn(k)
		for _, fd := range k.fds {
			k.call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		}
		runtime.KeepAlive(k.keep)
	}
	for i := range max(len(host.log), len(ours.log)) {
		w, g := at(host.log, i), at(ours.log, i)
		if w != g {
			t.Errorf("line %d:\n  linux: %s\n  pith:  %s", i+1, w, g)
		}
	}
}

func at(log []string, i int) string {
	if i < len(log) {
		return log[i]
	}
	return "(nothing)"
}

func (k *kernel) note(format string, args ...any) {
	k.log = append(k.log, fmt.Sprintf(format, args...))
}

func (k *kernel) outcome(label string, r uintptr, errno linux.Errno) {
	if errno != 0 {
		k.note("%s: %v", label, unix.Errno(errno))
		return
	}
	k.note("%s = %d", label, r)
}

// bytes returns the address of b, which stays alive and does not move.
func (k *kernel) bytes(b []byte) uintptr {
	if len(b) == 0 {
		b = make([]byte, 1)
	}
	pinned.Lock()
	pinned.keep = append(pinned.keep, b)
	pinned.Unlock()
	k.keep = append(k.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// pinned makes the memory that calls point to escape to the heap.
var pinned struct {
	sync.Mutex
	keep [][]byte
}

// socket makes a socket. It logs only a failure.
func (k *kernel) socket(domain, typ, proto int) uintptr {
	fd, errno := k.call(linux.SYS_SOCKET, uintptr(domain), uintptr(typ), uintptr(proto), 0, 0, 0)
	if errno != 0 {
		k.note("socket(%d, %d, %d): %v", domain, typ, proto, unix.Errno(errno))
		return ^uintptr(0)
	}
	k.fds = append(k.fds, fd)
	return fd
}

func (k *kernel) addrCall(label string, num int, fd uintptr, addr []byte) linux.Errno {
	r, errno := k.call(uintptr(num), fd, k.bytes(addr), uintptr(len(addr)), 0, 0, 0)
	k.outcome(label, r, errno)
	return errno
}

func (k *kernel) bind(label string, fd uintptr, addr []byte) {
	k.addrCall(label, linux.SYS_BIND, fd, addr)
}
func (k *kernel) connect(label string, fd uintptr, addr []byte) {
	k.addrCall(label, linux.SYS_CONNECT, fd, addr)
}

func (k *kernel) do(label string, num int, args ...uintptr) (uintptr, linux.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	r, errno := k.call(uintptr(num), a[0], a[1], a[2], a[3], a[4], a[5])
	k.outcome(label, r, errno)
	return r, errno
}

// accept accepts a connection. It logs only a failure.
func (k *kernel) accept(fd uintptr) uintptr {
	c, errno := k.call(linux.SYS_ACCEPT4, fd, 0, 0, 0, 0, 0)
	if errno != 0 {
		k.note("accept: %v", unix.Errno(errno))
		return ^uintptr(0)
	}
	k.fds = append(k.fds, c)
	return c
}

// addrOf is getsockname or getpeername. It logs nothing.
func (k *kernel) addrOf(num int, fd uintptr) ([]byte, linux.Errno) {
	b := make([]byte, linux.SockaddrMax)
	n := []byte{linux.SockaddrMax, 0, 0, 0}
	_, errno := k.call(uintptr(num), fd, k.bytes(b), k.bytes(n), 0, 0, 0)
	return b[:n[0]], errno
}

// listener returns a listening stream socket on addr, and its address.
func (k *kernel) listener(addr []byte) (uintptr, []byte) {
	fd := k.socket(family(addr), linux.SOCK_STREAM, 0)
	k.bind("bind listener", fd, addr)
	k.do("listen", linux.SYS_LISTEN, fd, 8)
	name, _ := k.addrOf(linux.SYS_GETSOCKNAME, fd)
	return fd, name
}

// pair returns a connection over loopback.
func (k *kernel) pair() (client, server uintptr) {
	l, name := k.listener(inet4(127, 0, 0, 1, 0))
	client = k.socket(linux.AF_INET, linux.SOCK_STREAM, 0)
	k.connect("connect", client, name)
	return client, k.accept(l)
}

func (k *kernel) send(label string, fd uintptr, s string, flags int, to []byte) {
	a := uintptr(0)
	if to != nil {
		a = k.bytes(to)
	}
	k.do(label, linux.SYS_SENDTO, fd, k.bytes([]byte(s)), uintptr(len(s)), uintptr(flags|linux.MSG_NOSIGNAL), a, uintptr(len(to)))
}

func (k *kernel) recv(label string, fd uintptr, n, flags int) {
	b := make([]byte, n)
	r, errno := k.call(linux.SYS_RECVFROM, fd, k.bytes(b), uintptr(n), uintptr(flags), 0, 0)
	if errno != 0 {
		k.note("%s: %v", label, unix.Errno(errno))
		return
	}
	k.note("%s = %d %q", label, r, b[:min(int(r), n)])
}

func (k *kernel) setInt(label string, fd uintptr, level, name, v int) {
	k.set(label, fd, level, name, []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)})
}

func (k *kernel) set(label string, fd uintptr, level, name int, v []byte) {
	k.do("set "+label, linux.SYS_SETSOCKOPT, fd, uintptr(level), uintptr(name), k.bytes(v), uintptr(len(v)))
}

// get logs the value of an option.
func (k *kernel) get(label string, fd uintptr, level, name, size int) {
	b := make([]byte, size)
	n := []byte{byte(size), 0, 0, 0}
	_, errno := k.call(linux.SYS_GETSOCKOPT, fd, uintptr(level), uintptr(name), k.bytes(b), k.bytes(n), 0)
	if errno != 0 {
		k.note("get %s: %v", label, unix.Errno(errno))
		return
	}
	k.note("get %s = %x", label, b[:n[0]])
}

// poll waits up to a second until fd has all events of until, or an error, and
// logs the events. It waits because the stack delivers in the background.
func (k *kernel) poll(label string, fd uintptr, until int16) {
	deadline := time.Now().Add(time.Second)
	for {
		events := int16(tIn | tOut | tRdHup)
		p := []byte{byte(fd), byte(fd >> 8), byte(fd >> 16), byte(fd >> 24), byte(events), byte(events >> 8), 0, 0}
		n, errno := k.call(linux.SYS_POLL, k.bytes(p), 1, 0, 0, 0, 0)
		got := int16(p[6]) | int16(p[7])<<8
		if got&until == until || errno != 0 || time.Now().After(deadline) {
			k.note("%s: poll = %d %#x %v", label, n, got, errno)
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func inet4(a, b, c, d byte, port uint16) []byte {
	return appendValue(nil, &linux.SockaddrInet4{Family: linux.AF_INET, Port: [2]byte{byte(port >> 8), byte(port)}, Addr: [4]byte{a, b, c, d}})
}

func inet6(addr string, port uint16) []byte {
	a := linux.SockaddrInet6{Family: linux.AF_INET6, Port: [2]byte{byte(port >> 8), byte(port)}}
	switch {
	case addr == "::1":
		a.Addr[15] = 1
	case strings.HasPrefix(addr, "::ffff:127.0.0.1"):
		copy(a.Addr[10:], []byte{0xff, 0xff, 127, 0, 0, 1})
	}
	return appendValue(nil, &a)
}

// withPort returns addr with another port.
func withPort(addr []byte, port []byte) []byte {
	b := append([]byte(nil), addr...)
	copy(b[2:4], port[2:4])
	return b
}
