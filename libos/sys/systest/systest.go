//go:build !pith

// Package systest compares the library OS with Linux: it makes the same system
// calls on both.
package systest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"

	"golang.org/x/sys/unix"
)

// Kernel is Linux itself or the library OS. It makes system calls and logs their
// results. A differential test makes the same calls on both and compares the logs.
type Kernel struct {
	Name string // "linux" or "pith"
	call func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno)
	log  strings.Builder
}

// Ours is the library OS.
func Ours() *Kernel { return &Kernel{Name: "pith", call: sys.Call} }

// Differ runs fn on Linux and on the library OS and requires equal logs.
func Differ(t *testing.T, fn func(t *testing.T, k *Kernel)) {
	t.Helper()
	host := &Kernel{Name: "linux", call: func(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno) {
		r, _, errno := unix.Syscall6(num, a1, a2, a3, a4, a5, a6)
		if errno != 0 {
			return 0, linux.Errno(errno)
		}
		return r, 0
	}}
	ours := Ours()
	// The test has a thread of its own: Linux changes threads where the library OS
	// changes the program.
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
		if w != g { // later differences may be consequences of this one
			before := strings.Join(want[max(i-8, 0):min(i, len(want))], "\n  ")
			t.Errorf("after\n  %s\nlinux: %s\npith:  %s", before, w, g)
			return
		}
	}
}

// Do makes a call and logs its result under a label.
//
//go:uintptrescapes
func (k *Kernel) Do(label string, num int, args ...uintptr) (uintptr, linux.Errno) {
	r, errno := k.Raw(num, args...)
	if errno != 0 {
		k.Note("%s: %v", label, unix.Errno(errno))
	} else {
		k.Note("%s = %d", label, r)
	}
	return r, errno
}

// Raw makes a call and logs nothing.
//
//go:uintptrescapes
func (k *Kernel) Raw(num int, args ...uintptr) (uintptr, linux.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	return k.call(uintptr(num), a[0], a[1], a[2], a[3], a[4], a[5])
}

// Note logs a line.
func (k *Kernel) Note(format string, args ...any) { fmt.Fprintf(&k.log, format+"\n", args...) }

// FD makes a call that returns a descriptor, and logs nothing: descriptors differ
// between kernels. An error ends the test.
//
//go:uintptrescapes
func (k *Kernel) FD(t *testing.T, num int, args ...uintptr) uintptr {
	t.Helper()
	r, errno := k.Raw(num, args...)
	if errno != 0 {
		t.Fatalf("%s: call %d: %v", k.Name, num, unix.Errno(errno))
	}
	return r
}

// Pair makes a call that returns two descriptors through a pointer: the last
// argument, or the first one of pipe2. An error ends the test.
func (k *Kernel) Pair(t *testing.T, num int, args ...uintptr) (a, b uintptr) {
	t.Helper()
	out := new([2]int32)
	i := len(args)
	if num == linux.SYS_PIPE2 {
		i = 0
		args = append([]uintptr{0}, args...)
	} else {
		args = append(args, 0)
	}
	args[i] = Addr(out)
	if _, errno := k.Raw(num, args...); errno != 0 {
		t.Fatalf("%s: call %d: %v", k.Name, num, unix.Errno(errno))
	}
	return uintptr(out[0]), uintptr(out[1])
}

// Write writes s to fd and logs the result.
func (k *Kernel) Write(label string, fd uintptr, s string) {
	k.Do(label, linux.SYS_WRITE, fd, Addr(unsafe.StringData(s+"\x00")), uintptr(len(s)))
}

// Read reads up to n bytes from fd and logs them.
func (k *Kernel) Read(label string, fd uintptr, n int) {
	b := make([]byte, n+1)
	r, errno := k.Raw(linux.SYS_READ, fd, Addr(&b[0]), uintptr(n))
	if errno != 0 {
		k.Note("%s: %v", label, unix.Errno(errno))
		return
	}
	k.Note("%s = %s", label, Brief(b[:r]))
}

// Close closes descriptors and logs nothing.
func (k *Kernel) Close(fds ...uintptr) {
	for _, fd := range fds {
		k.Raw(linux.SYS_CLOSE, fd)
	}
}

// Level logs the readiness of fd, as poll reports it.
func (k *Kernel) Level(label string, fd uintptr) {
	p := &linux.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLPRI | unix.POLLRDHUP}
	_, errno := k.Raw(linux.SYS_POLL, Addr(p), 1, 0)
	k.Note("%s: poll %#x %v", label, p.Revents, errno)
}

// Brief formats b, or the ends of it if it is long.
func Brief(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%d bytes, %q...%q", len(b), b[:8], b[len(b)-8:])
	}
	return fmt.Sprintf("%q", b)
}

// pins keeps what system calls point to off the stacks, and alive to the end of the
// test.
var pins struct {
	sync.Mutex
	kept []any
}

// Addr returns the address of what p points to, and keeps it alive to the end of the
// test.
func Addr[T any](p *T) uintptr {
	pins.Lock()
	defer pins.Unlock()
	pins.kept = append(pins.kept, p)
	return uintptr(unsafe.Pointer(p))
}

// Socketpair makes a pair of Unix sockets.
func (k *Kernel) Socketpair(t *testing.T, typ int) (a, b uintptr) {
	t.Helper()
	return k.Pair(t, linux.SYS_SOCKETPAIR, linux.AF_UNIX, uintptr(typ), 0)
}

// Recvfrom receives a message and logs it with its sender.
func (k *Kernel) Recvfrom(label string, fd uintptr, n, flags int) {
	b, sa, salen := make([]byte, n+1), new([128]byte), new(int32)
	*salen = 128
	r, errno := k.Raw(linux.SYS_RECVFROM, fd, Addr(&b[0]), uintptr(n), uintptr(flags), Addr(sa), Addr(salen))
	if errno != 0 {
		k.Note("%s: %v", label, unix.Errno(errno))
		return
	}
	k.Note("%s = %d %s from %s", label, r, Brief(b[:min(int(r), n)]), k.Masked(sa[:max(*salen, 0)]))
}

// Masked formats a socket address without the kernel's name.
func (k *Kernel) Masked(sa []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("%q", sa), "-"+k.Name+"-", "-")
}

// AsRoot runs f on a thread of its own, which ends with f, as f may change the
// thread's credentials. Afterwards it restores those of the library OS.
func AsRoot(f func()) {
	before := *cred.Current()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		f()
	}()
	<-done
	cred.Change(func(c *cred.Credentials) linux.Errno {
		*c = before
		return 0
	})
}

// NeedRoot skips the test unless root runs it.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user: run the test as root")
	}
}
