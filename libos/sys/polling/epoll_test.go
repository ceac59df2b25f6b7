package polling_test

import (
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
	"github.com/pith-os/pith/libos/wait"
)

const nonblock = linux.O_NONBLOCK

// ctl is epoll_ctl with the descriptor's label as the event's data.
func ctl(k *systest.Kernel, label string, ep uintptr, op int, fd uintptr, events uint32, data uint32) {
	ev := &linux.EpollEvent{Events: events, Data: [2]uint32{data}}
	k.Do(label, linux.SYS_EPOLL_CTL, ep, uintptr(op), fd, systest.Addr(ev))
}

// events logs what epoll_wait returns within ms milliseconds.
func events(k *systest.Kernel, label string, ep uintptr, max int, ms int) {
	evs := make([]linux.EpollEvent, max)
	n, errno := k.Raw(linux.SYS_EPOLL_WAIT, ep, systest.Addr(&evs[0]), uintptr(max), uintptr(ms))
	if errno != 0 {
		k.Note("%s: errno %d", label, errno)
		return
	}
	k.Note("%s: %d", label, n)
	for _, ev := range evs[:n] {
		k.Note("  %d %#x", ev.Data[0], ev.Events)
	}
}

const (
	add = linux.EPOLL_CTL_ADD
	del = linux.EPOLL_CTL_DEL
	mod = linux.EPOLL_CTL_MOD
	in  = uint32(wait.In)
	out = uint32(wait.Out)
)

func TestEpollLevelAndEdgeAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		ep := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		r2, w2 := k.Pair(t, linux.SYS_PIPE2, nonblock)
		ctl(k, "level", ep, add, r, in, 1)
		ctl(k, "edge", ep, add, r2, in|linux.EPOLLET, 2)
		events(k, "none", ep, 10, 0)
		events(k, "none, waiting", ep, 10, 5)
		k.Write("1", w, "x")
		events(k, "1", ep, 10, 0)
		events(k, "1 again", ep, 10, 0)
		k.Write("2", w2, "x")
		events(k, "both", ep, 10, 100)
		events(k, "only level", ep, 10, 0)
		k.Write("2 more", w2, "y")
		events(k, "edge again", ep, 10, 0)
		events(k, "edge no more", ep, 10, 0)
		k.Read("drain", r, 10)
		events(k, "none", ep, 10, 0)
		ctl(k, "modify tells again", ep, mod, r2, in|linux.EPOLLET, 3)
		events(k, "2 as 3", ep, 10, 0)
		k.Close(w)
		events(k, "hangup", ep, 10, 0)
		k.Close(w2)
		events(k, "hangup of both", ep, 10, 0)
		events(k, "level stays", ep, 10, 0)
		k.Close(r)
		events(k, "gone with the descriptor", ep, 10, 0)
		k.Close(r2, ep)
	})
}

func TestEpollWriteSideAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		ep := k.FD(t, linux.SYS_EPOLL_CREATE, 1)
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		ctl(k, "w", ep, add, w, out|linux.EPOLLET, 1)
		events(k, "writable", ep, 1, 0)
		events(k, "once", ep, 1, 0)
		k.Write("fill", w, string(make([]byte, 65536)))
		k.Read("a page", r, 4096)
		events(k, "writable again", ep, 1, 0)
		k.Close(r)
		events(k, "error", ep, 1, 0)
		k.Close(w, ep)
	})
}

func TestEpollOneshotAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		ep := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.FD(t, linux.SYS_EVENTFD2, 1, nonblock)
		ctl(k, "add", ep, add, fd, in|linux.EPOLLONESHOT, 1)
		events(k, "fires", ep, 4, 0)
		events(k, "once", ep, 4, 0)
		put(k, "more", fd, 1)
		events(k, "disabled", ep, 4, 0)
		ctl(k, "rearm", ep, mod, fd, in|out|linux.EPOLLONESHOT, 2)
		events(k, "fires", ep, 4, 0)
		events(k, "once", ep, 4, 0)
		k.Close(fd, ep)
	})
}

func TestEpollControlErrorsAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		k.Do("size 0", linux.SYS_EPOLL_CREATE, 0)
		k.Do("bad flags", linux.SYS_EPOLL_CREATE1, 1)
		ep := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.FD(t, linux.SYS_EVENTFD2, 0, nonblock)
		ctl(k, "add", ep, add, fd, in, 1)
		ctl(k, "add again", ep, add, fd, in, 1)
		ctl(k, "itself", ep, add, ep, in, 1)
		ctl(k, "not open", ep, add, 9999, in, 1)
		ctl(k, "no epoll", fd, add, ep, in, 1)
		ctl(k, "no epoll open", 9999, add, fd, in, 1)
		ctl(k, "bad op", ep, 9, fd, in, 1)
		k.Do("null event", linux.SYS_EPOLL_CTL, ep, add, fd, 0)
		k.Do("delete needs none", linux.SYS_EPOLL_CTL, ep, del, fd, 0)
		ctl(k, "delete again", ep, del, fd, 0, 0)
		ctl(k, "modify none", ep, mod, fd, 0, 0)
		ctl(k, "exclusive", ep, add, fd, in|linux.EPOLLEXCLUSIVE, 1)
		ctl(k, "exclusive modified", ep, mod, fd, in, 1)
		ctl(k, "to exclusive", ep, mod, fd, in|linux.EPOLLEXCLUSIVE, 1)
		ctl(k, "delete", ep, del, fd, 0, 0)
		ctl(k, "exclusive oneshot", ep, add, fd, in|linux.EPOLLEXCLUSIVE|linux.EPOLLONESHOT, 1)
		evs := new([4]linux.EpollEvent)
		k.Do("none", linux.SYS_EPOLL_WAIT, ep, systest.Addr(evs), 0, 0)
		k.Do("negative", linux.SYS_EPOLL_WAIT, ep, systest.Addr(evs), ^uintptr(0), 0)
		k.Do("no epoll", linux.SYS_EPOLL_WAIT, fd, systest.Addr(evs), 1, 0)
		k.Do("not open", linux.SYS_EPOLL_WAIT, 9999, systest.Addr(evs), 1, 0)
		k.Do("bad time", linux.SYS_EPOLL_PWAIT2, ep, systest.Addr(evs), 1, systest.Addr(&linux.Timespec{Nsec: -1}), 0, 8)
		k.Do("some time", linux.SYS_EPOLL_PWAIT2, ep, systest.Addr(evs), 1, systest.Addr(&linux.Timespec{Nsec: 1e6}), 0, 8)
		k.Do("bad mask", linux.SYS_EPOLL_PWAIT, ep, systest.Addr(evs), 1, 0, systest.Addr(new([16]byte)), 16)
		k.Do("mask", linux.SYS_EPOLL_PWAIT, ep, systest.Addr(evs), 1, 0, systest.Addr(new([8]byte)), 8)
		k.Read("read", ep, 8)
		k.Write("write", ep, "12345678")
		k.Close(fd, ep)
	})
}

func TestEpollKeepsDuplicatedFilesAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		ep := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.FD(t, linux.SYS_EVENTFD2, 1, nonblock)
		dup := k.FD(t, linux.SYS_DUP, fd)
		ctl(k, "add", ep, add, fd, in, 1)
		ctl(k, "the duplicate too", ep, add, dup, in, 2)
		events(k, "both", ep, 4, 0)
		k.Close(fd)
		events(k, "still both", ep, 4, 0)
		ctl(k, "closed", ep, del, fd, 0, 0)
		k.Close(dup)
		events(k, "none", ep, 4, 0)
		k.Close(ep)
	})
}

func TestEpollNestedAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		inner := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		outer := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.FD(t, linux.SYS_EVENTFD2, 0, nonblock)
		ctl(k, "fd", inner, add, fd, in, 1)
		ctl(k, "inner", outer, add, inner, in, 2)
		ctl(k, "cycle", inner, add, outer, in, 3)
		events(k, "none", outer, 4, 0)
		k.Level("inner", inner)
		put(k, "put", fd, 1)
		k.Level("inner", inner)
		k.Level("outer", outer)
		events(k, "outer", outer, 4, 50)
		events(k, "outer", outer, 4, 0)
		events(k, "inner", inner, 4, 0)
		k.Read("drain", fd, 8)
		events(k, "outer", outer, 4, 0)
		k.Level("inner", inner)
		k.Close(fd)
		events(k, "outer", outer, 4, 0)
		chain := []uintptr{outer}
		for range 6 {
			next := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
			ctl(k, "chain", next, add, chain[len(chain)-1], in, 0)
			chain = append(chain, next)
		}
		k.Close(chain...)
		k.Close(inner)
	})
}

func TestEpollFairWithFewSlotsAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		ep := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		var fds []uintptr
		for i := range 5 {
			fd := k.FD(t, linux.SYS_EVENTFD2, 1, nonblock)
			ctl(k, "add", ep, add, fd, in, uint32(i))
			fds = append(fds, fd)
		}
		for range 4 {
			events(k, "two", ep, 2, 0)
		}
		k.Close(fds...)
		k.Close(ep)
	})
}

func TestEpollWakesWaiterAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		ep := k.FD(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.FD(t, linux.SYS_EVENTFD2, 0, nonblock)
		done := make(chan bool)
		go func() { events(k, "waits", ep, 4, -1); done <- true }()
		time.Sleep(5 * time.Millisecond)
		// Added during a wait, and ready only then.
		ev := &linux.EpollEvent{Events: in, Data: [2]uint32{9}}
		k.Raw(linux.SYS_EPOLL_CTL, ep, add, fd, systest.Addr(ev))
		k.Raw(linux.SYS_WRITE, fd, systest.Addr(&[]uint64{7}[0]), 8)
		<-done
		k.Close(fd, ep)
	})
}
