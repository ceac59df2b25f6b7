package polling_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"

	"golang.org/x/sys/unix"
)

// TestRandomOperationsAsLinux makes the same random calls on pipes, sockets,
// eventfds and epoll instances of Linux and of the library OS.
//
// It needs Linux 6.17 or later, where a failed send of a datagram returns EPIPE before
// ENOTCONN. Linux also reports edges without a change, as after a write to a full pipe.
// The library OS does not, and these seeds have no such edge.
func TestRandomOperationsAsLinux(t *testing.T) {
	if !hostAtLeast(6, 17) {
		t.Skip("compares with Linux 6.17 or later")
	}
	for seed := range uint64(200) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
				(&desk{Kernel: k, t: t, Rand: rand.New(rand.NewPCG(seed, 7))}).run(400)
			})
		})
	}
}

// desk has the descriptors of a random test, in the order of their creation.
type desk struct {
	*systest.Kernel
	*rand.Rand
	t   *testing.T
	fds []thing
	eps []uintptr
}

type thing struct {
	fd   uintptr
	kind string
	open bool
}

func (w *desk) add(kind string, fds ...uintptr) {
	for _, fd := range fds {
		w.fds = append(w.fds, thing{fd, kind, true})
	}
}

func (w *desk) run(steps int) {
	for range 2 {
		w.eps = append(w.eps, w.FD(w.t, linux.SYS_EPOLL_CREATE1, 0))
	}
	for i := range steps {
		w.step(fmt.Sprint(i))
	}
	for _, th := range w.fds {
		if th.open {
			w.Close(th.fd)
		}
	}
	w.Close(w.eps...)
}

func (w *desk) step(label string) {
	if len(w.fds) == 0 || w.IntN(20) == 0 {
		w.make()
		return
	}
	i := w.IntN(len(w.fds))
	th := &w.fds[i]
	if !th.open {
		return // its number may mean something else by now
	}
	label += fmt.Sprintf(" %s#%d", th.kind, i)
	switch w.IntN(11) {
	case 0, 1:
		size := []int{0, 1, 8, 100, 1000, 4096, 5000}[w.IntN(7)]
		if th.kind == "pipe" && w.IntN(4) == 0 {
			size = w.IntN(80000)
		}
		if th.kind == fmt.Sprint("socket", linux.SOCK_SEQPACKET) {
			size++ // at close, Linux does not count an empty packet as unread
		}
		if th.kind == "event" {
			put(w.Kernel, label+" put", th.fd, uint64(w.IntN(3)))
		} else {
			w.Write(fmt.Sprint(label, " write ", size), th.fd, strings.Repeat(string(rune('a'+w.IntN(26))), size))
		}
	case 2, 3, 4:
		size := []int{0, 1, 8, 100, 3000, 4096, 100000}[w.IntN(7)]
		w.Read(fmt.Sprint(label, " read ", size), th.fd, size)
	case 5:
		w.Level(label, th.fd)
	case 6, 7:
		e := w.IntN(2)
		op := []int{add, add, mod, del}[w.IntN(4)]
		events := []uint32{in, out, in | out, 0x2000, 0}[w.IntN(5)] | []uint32{0, 0, linux.EPOLLET, linux.EPOLLONESHOT}[w.IntN(4)]
		if th.kind == fmt.Sprint("socket", linux.SOCK_DGRAM) {
			events &^= linux.EPOLLET // Linux reports an edge when it frees a buffer that it could not send
		}
		ctl(w.Kernel, fmt.Sprintf("%s ctl %d op %d events %#x", label, e, op, events), w.eps[e], op, th.fd, events, uint32(i))
	case 8:
		if th.kind != "event" && th.kind != "pipe" {
			if w.IntN(5) == 0 {
				w.Do(label+" shutdown", linux.SYS_SHUTDOWN, th.fd, uintptr(w.IntN(3)))
			} else {
				w.Recvfrom(label+" peek", th.fd, 200, linux.MSG_PEEK)
			}
		}
	case 9:
		if w.IntN(4) == 0 {
			w.Note("%s close", label)
			w.Close(th.fd)
			th.open = false
		}
	case 10:
		e := w.IntN(2)
		w.sorted(fmt.Sprint(label, " wait ", e), w.eps[e])
	}
}

func (w *desk) make() {
	switch w.IntN(5) {
	case 0:
		r, x := w.Pair(w.t, linux.SYS_PIPE2, nonblock)
		w.Kernel.Note("pipe")
		w.add("pipe", r, x)
	case 1:
		w.Kernel.Note("event")
		w.add("event", w.FD(w.t, linux.SYS_EVENTFD2, uintptr(w.IntN(3)), uintptr(nonblock|w.IntN(2))))
	default:
		typ := []int{linux.SOCK_STREAM, linux.SOCK_DGRAM, linux.SOCK_SEQPACKET}[w.IntN(3)]
		a, b := w.Socketpair(w.t, typ|nonblock)
		w.Kernel.Note("socketpair")
		w.add(fmt.Sprint("socket", typ), a, b)
	}
}

// sorted logs all events of an epoll instance, sorted by file.
func (w *desk) sorted(label string, ep uintptr) {
	evs := make([]linux.EpollEvent, 200)
	n, errno := w.Raw(linux.SYS_EPOLL_WAIT, ep, systest.Addr(&evs[0]), uintptr(len(evs)), 0)
	w.Note("%s: %d %v", label, n, errno)
	got := evs[:n]
	slices.SortFunc(got, func(a, b linux.EpollEvent) int { return int(a.Data[0]) - int(b.Data[0]) })
	for _, ev := range got {
		w.Note("  #%d %#x", ev.Data[0], ev.Events)
	}
}

// hostAtLeast reports whether the host's kernel has this version or a later one.
func hostAtLeast(major, minor int) bool {
	var u unix.Utsname
	var hostMajor, hostMinor int
	if err := unix.Uname(&u); err != nil {
		return false
	}
	n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &hostMajor, &hostMinor)
	return n == 2 && (hostMajor > major || hostMajor == major && hostMinor >= minor)
}
