package sys

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// kernel makes system calls and writes down what they did: either Linux itself
// or the library OS. A differential test runs the same calls on both and
// compares what was written.
type kernel struct {
	name string
	call func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno)
	log  strings.Builder
}

// differ runs fn on Linux and on the library OS and requires equal logs.
func differ(t *testing.T, fn func(t *testing.T, k *kernel)) {
	t.Helper()
	host := &kernel{name: "linux", call: func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno) {
		r, _, errno := unix.Syscall6(num, a1, a2, a3, a4, a5, a6)
		if errno != 0 {
			return 0, linux.Errno(errno)
		}
		return r, 0
	}}
	ours := &kernel{name: "pith", call: Call}
	// A thread of its own: what a test does to it, Linux does to threads.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fn(t, host)
	fn(t, ours)
	pins.kept = nil
	want, got := strings.Split(host.log.String(), "\n"), strings.Split(ours.log.String(), "\n")
	for i := range max(len(want), len(got)) {
		w, g := "", ""
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g { // what follows may only follow from it
			before := strings.Join(want[max(i-8, 0):min(i, len(want))], "\n  ")
			t.Errorf("after\n  %s\nlinux: %s\npith:  %s", before, w, g)
			return
		}
	}
}

// do makes a call and writes its outcome down under a label.
//
//go:uintptrescapes
func (k *kernel) do(label string, num int, args ...uintptr) (uintptr, linux.Errno) {
	r, errno := k.raw(num, args...)
	if errno != 0 {
		k.note("%s: %v", label, unix.Errno(errno))
	} else {
		k.note("%s = %d", label, r)
	}
	return r, errno
}

// raw makes a call and writes nothing.
//
//go:uintptrescapes
func (k *kernel) raw(num int, args ...uintptr) (uintptr, linux.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	return k.call(uintptr(num), a[0], a[1], a[2], a[3], a[4], a[5])
}

func (k *kernel) note(format string, args ...any) { fmt.Fprintf(&k.log, format+"\n", args...) }

// fd makes a call that returns a descriptor, which differs between kernels.
//
//go:uintptrescapes
func (k *kernel) fd(t *testing.T, num int, args ...uintptr) uintptr {
	t.Helper()
	r, errno := k.raw(num, args...)
	if errno != 0 {
		t.Fatalf("%s: call %d: %v", k.name, num, unix.Errno(errno))
	}
	return r
}

// pair makes a call whose last argument receives two descriptors.
func (k *kernel) pair(t *testing.T, num int, args ...uintptr) (a, b uintptr) {
	t.Helper()
	out := new([2]int32)
	i := len(args)
	if num == linux.SYS_PIPE2 {
		i = 0
		args = append([]uintptr{0}, args...)
	} else {
		args = append(args, 0)
	}
	args[i] = addr(out)
	if _, errno := k.raw(num, args...); errno != 0 {
		t.Fatalf("%s: call %d: %v", k.name, num, unix.Errno(errno))
	}
	return uintptr(out[0]), uintptr(out[1])
}

func (k *kernel) write(label string, fd uintptr, s string) {
	k.do(label, linux.SYS_WRITE, fd, addr(unsafe.StringData(s+"\x00")), uintptr(len(s)))
}

func (k *kernel) read(label string, fd uintptr, n int) {
	b := make([]byte, n+1)
	r, errno := k.raw(linux.SYS_READ, fd, addr(&b[0]), uintptr(n))
	if errno != 0 {
		k.note("%s: %v", label, unix.Errno(errno))
		return
	}
	k.note("%s = %s", label, brief(b[:r]))
}

func (k *kernel) close(fds ...uintptr) {
	for _, fd := range fds {
		k.raw(linux.SYS_CLOSE, fd)
	}
}

// level writes down what poll says of a descriptor.
func (k *kernel) level(label string, fd uintptr) {
	p := &linux.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLPRI | unix.POLLRDHUP}
	_, errno := k.raw(linux.SYS_POLL, addr(p), 1, 0)
	k.note("%s: poll %#x %v", label, p.Revents, errno)
}

func brief(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%d bytes, %q...%q", len(b), b[:8], b[len(b)-8:])
	}
	return fmt.Sprintf("%q", b)
}

// pins keeps what system calls point to off the stacks, and alive to the end
// of the test.
var pins struct {
	sync.Mutex
	kept []any
}

// addr is the address of what p points to.
func addr[T any](p *T) uintptr {
	pins.Lock()
	defer pins.Unlock()
	pins.kept = append(pins.kept, p)
	return uintptr(unsafe.Pointer(p))
}
