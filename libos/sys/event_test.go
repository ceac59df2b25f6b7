package sys

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// put writes a 64-bit number, as eventfd takes it.
func (k *kernel) put(label string, fd uintptr, v uint64) {
	k.write(label, fd, string(binary.NativeEndian.AppendUint64(nil, v)))
}

func TestEventfdAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		k.do("bad flags", linux.SYS_EVENTFD2, 0, 2)
		fd := k.fd(t, linux.SYS_EVENTFD2, 3, nonblock)
		k.level("3", fd)
		k.read("short", fd, 7)
		k.read("long", fd, 16)
		k.level("0", fd)
		k.read("empty", fd, 8)
		k.put("add", fd, 5)
		k.put("add", fd, 6)
		k.write("short", fd, "1234567")
		k.put("reserved", fd, 1<<64-1)
		k.put("too much", fd, 1<<64-2)
		k.put("to the top", fd, 1<<64-2-11)
		k.level("full", fd)
		k.put("one more", fd, 1)
		k.put("zero", fd, 0)
		k.read("all", fd, 8)
		k.do("FIONREAD", linux.SYS_IOCTL, fd, linux.FIONREAD, addr(new(int32)))
		k.close(fd)
	})
}

func TestEventfdSemaphoreAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		fd := k.fd(t, linux.SYS_EVENTFD2, 2, nonblock|linux.EFD_SEMAPHORE)
		k.read("one", fd, 8)
		k.put("add", fd, 1)
		k.read("two", fd, 8)
		k.read("three", fd, 8)
		k.read("none", fd, 8)
		k.close(fd)
	})
}

func TestEventfdBlocksAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		fd := k.fd(t, linux.SYS_EVENTFD2, 0, 0)
		done := make(chan bool)
		go func() { k.read("read", fd, 8); done <- true }()
		time.Sleep(5 * time.Millisecond)
		k.raw(linux.SYS_WRITE, fd, addr(&[]uint64{7}[0]), 8)
		<-done
		k.close(fd)
	})
}

func spec(value, interval time.Duration) uintptr {
	return addr(&linux.Itimerspec{Value: linux.TimespecOf(int64(value)), Interval: linux.TimespecOf(int64(interval))})
}

func TestTimerfdAsLinux(t *testing.T) {
	const ms = time.Millisecond
	for _, clock := range []uintptr{linux.CLOCK_REALTIME, linux.CLOCK_MONOTONIC, linux.CLOCK_BOOTTIME} {
		differ(t, func(t *testing.T, k *kernel) {
			fd := k.fd(t, linux.SYS_TIMERFD_CREATE, clock, nonblock)
			k.read("disarmed", fd, 8)
			k.level("disarmed", fd)
			k.do("set", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(20*ms, 0), 0)
			k.read("early", fd, 8)
			k.read("short", fd, 4)
			time.Sleep(30 * ms)
			k.level("expired", fd)
			k.read("expired", fd, 8)
			k.read("once", fd, 8)

			old := new(linux.Itimerspec)
			k.do("set", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(50*ms, 100*ms), 0)
			k.do("set again", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(10*ms, 10*ms), addr(old))
			k.note("%v %v", old.Interval, old.Value.Nsec > 0 && old.Value.Nsec <= 50e6)
			time.Sleep(45 * ms)
			n := new([8]byte)
			k.raw(linux.SYS_READ, fd, addr(n), 8)
			k.note("several: %v", n[0] >= 4)
			k.do("gettime", linux.SYS_TIMERFD_GETTIME, fd, addr(old))
			k.note("%v %v", old.Interval, old.Value.Nsec > 0 && old.Value.Nsec <= 10e6)
			k.do("disarm", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(0, 10*ms), 0)
			time.Sleep(15 * ms)
			k.read("disarmed", fd, 8)

			k.do("past", linux.SYS_TIMERFD_SETTIME, fd, linux.TFD_TIMER_ABSTIME, spec(1, 0), 0)
			time.Sleep(2 * ms)
			k.read("past", fd, 8)
			k.do("bad", linux.SYS_TIMERFD_SETTIME, fd, 0, addr(&linux.Itimerspec{Value: linux.Timespec{Nsec: 1e9}}), 0)
			k.do("bad flags", linux.SYS_TIMERFD_SETTIME, fd, 8, spec(1, 0), 0)
			k.do("null", linux.SYS_TIMERFD_SETTIME, fd, 0, 0, 0)
			k.write("write", fd, "12345678")
			k.close(fd)

			e := k.fd(t, linux.SYS_EVENTFD2, 0, 0)
			k.do("not a timer", linux.SYS_TIMERFD_GETTIME, e, addr(old))
			k.do("not open", linux.SYS_TIMERFD_GETTIME, 9999, addr(old))
			k.do("bad clock", linux.SYS_TIMERFD_CREATE, 99, 0)
			k.close(e)
		})
	}
}

func TestTimerfdWakesReader(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		fd := k.fd(t, linux.SYS_TIMERFD_CREATE, linux.CLOCK_MONOTONIC, 0)
		k.do("set", linux.SYS_TIMERFD_SETTIME, fd, 0, spec(5*time.Millisecond, 0), 0)
		k.read("blocks", fd, 8)
		k.close(fd)
	})
}

// ctl is epoll_ctl with the descriptor's label as the event's data.
func (k *kernel) ctl(label string, ep uintptr, op int, fd uintptr, events uint32, data uint32) {
	ev := &linux.EpollEvent{Events: events, Data: [2]uint32{data}}
	k.do(label, linux.SYS_EPOLL_CTL, ep, uintptr(op), fd, addr(ev))
}

// events writes down what epoll_wait tells, within ms milliseconds.
func (k *kernel) events(label string, ep uintptr, max int, ms int) {
	evs := make([]linux.EpollEvent, max)
	n, errno := k.raw(linux.SYS_EPOLL_WAIT, ep, addr(&evs[0]), uintptr(max), uintptr(ms))
	if errno != 0 {
		k.note("%s: errno %d", label, errno)
		return
	}
	k.note("%s: %d", label, n)
	for _, ev := range evs[:n] {
		k.note("  %d %#x", ev.Data[0], ev.Events)
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
	differ(t, func(t *testing.T, k *kernel) {
		ep := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
		r2, w2 := k.pair(t, linux.SYS_PIPE2, nonblock)
		k.ctl("level", ep, add, r, in, 1)
		k.ctl("edge", ep, add, r2, in|linux.EPOLLET, 2)
		k.events("none", ep, 10, 0)
		k.events("none, waiting", ep, 10, 5)
		k.write("1", w, "x")
		k.events("1", ep, 10, 0)
		k.events("1 again", ep, 10, 0)
		k.write("2", w2, "x")
		k.events("both", ep, 10, 100)
		k.events("only level", ep, 10, 0)
		k.write("2 more", w2, "y")
		k.events("edge again", ep, 10, 0)
		k.events("edge no more", ep, 10, 0)
		k.read("drain", r, 10)
		k.events("none", ep, 10, 0)
		k.ctl("modify tells again", ep, mod, r2, in|linux.EPOLLET, 3)
		k.events("2 as 3", ep, 10, 0)
		k.close(w)
		k.events("hangup", ep, 10, 0)
		k.close(w2)
		k.events("hangup of both", ep, 10, 0)
		k.events("level stays", ep, 10, 0)
		k.close(r)
		k.events("gone with the descriptor", ep, 10, 0)
		k.close(r2, ep)
	})
}

func TestEpollWriteSideAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		ep := k.fd(t, linux.SYS_EPOLL_CREATE, 1)
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
		k.ctl("w", ep, add, w, out|linux.EPOLLET, 1)
		k.events("writable", ep, 1, 0)
		k.events("once", ep, 1, 0)
		k.write("fill", w, string(make([]byte, 65536)))
		k.read("a page", r, 4096)
		k.events("writable again", ep, 1, 0)
		k.close(r)
		k.events("error", ep, 1, 0)
		k.close(w, ep)
	})
}

func TestEpollOneshotAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		ep := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.fd(t, linux.SYS_EVENTFD2, 1, nonblock)
		k.ctl("add", ep, add, fd, in|linux.EPOLLONESHOT, 1)
		k.events("fires", ep, 4, 0)
		k.events("once", ep, 4, 0)
		k.put("more", fd, 1)
		k.events("disabled", ep, 4, 0)
		k.ctl("rearm", ep, mod, fd, in|out|linux.EPOLLONESHOT, 2)
		k.events("fires", ep, 4, 0)
		k.events("once", ep, 4, 0)
		k.close(fd, ep)
	})
}

func TestEpollControlErrorsAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		k.do("size 0", linux.SYS_EPOLL_CREATE, 0)
		k.do("bad flags", linux.SYS_EPOLL_CREATE1, 1)
		ep := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.fd(t, linux.SYS_EVENTFD2, 0, nonblock)
		k.ctl("add", ep, add, fd, in, 1)
		k.ctl("add again", ep, add, fd, in, 1)
		k.ctl("itself", ep, add, ep, in, 1)
		k.ctl("not open", ep, add, 9999, in, 1)
		k.ctl("no epoll", fd, add, ep, in, 1)
		k.ctl("no epoll open", 9999, add, fd, in, 1)
		k.ctl("bad op", ep, 9, fd, in, 1)
		k.do("null event", linux.SYS_EPOLL_CTL, ep, add, fd, 0)
		k.do("delete needs none", linux.SYS_EPOLL_CTL, ep, del, fd, 0)
		k.ctl("delete again", ep, del, fd, 0, 0)
		k.ctl("modify none", ep, mod, fd, 0, 0)
		k.ctl("exclusive", ep, add, fd, in|linux.EPOLLEXCLUSIVE, 1)
		k.ctl("exclusive modified", ep, mod, fd, in, 1)
		k.ctl("to exclusive", ep, mod, fd, in|linux.EPOLLEXCLUSIVE, 1)
		k.ctl("delete", ep, del, fd, 0, 0)
		k.ctl("exclusive oneshot", ep, add, fd, in|linux.EPOLLEXCLUSIVE|linux.EPOLLONESHOT, 1)
		evs := new([4]linux.EpollEvent)
		k.do("none", linux.SYS_EPOLL_WAIT, ep, addr(evs), 0, 0)
		k.do("negative", linux.SYS_EPOLL_WAIT, ep, addr(evs), ^uintptr(0), 0)
		k.do("no epoll", linux.SYS_EPOLL_WAIT, fd, addr(evs), 1, 0)
		k.do("not open", linux.SYS_EPOLL_WAIT, 9999, addr(evs), 1, 0)
		k.do("bad time", linux.SYS_EPOLL_PWAIT2, ep, addr(evs), 1, addr(&linux.Timespec{Nsec: -1}), 0, 8)
		k.do("some time", linux.SYS_EPOLL_PWAIT2, ep, addr(evs), 1, addr(&linux.Timespec{Nsec: 1e6}), 0, 8)
		k.do("bad mask", linux.SYS_EPOLL_PWAIT, ep, addr(evs), 1, 0, addr(new([16]byte)), 16)
		k.do("mask", linux.SYS_EPOLL_PWAIT, ep, addr(evs), 1, 0, addr(new([8]byte)), 8)
		k.read("read", ep, 8)
		k.write("write", ep, "12345678")
		k.close(fd, ep)
	})
}

func TestEpollKeepsDuplicatedFilesAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		ep := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.fd(t, linux.SYS_EVENTFD2, 1, nonblock)
		dup := k.fd(t, linux.SYS_DUP, fd)
		k.ctl("add", ep, add, fd, in, 1)
		k.ctl("the duplicate too", ep, add, dup, in, 2)
		k.events("both", ep, 4, 0)
		k.close(fd)
		k.events("still both", ep, 4, 0)
		k.ctl("closed", ep, del, fd, 0, 0)
		k.close(dup)
		k.events("none", ep, 4, 0)
		k.close(ep)
	})
}

func TestEpollNestedAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		inner := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		outer := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.fd(t, linux.SYS_EVENTFD2, 0, nonblock)
		k.ctl("fd", inner, add, fd, in, 1)
		k.ctl("inner", outer, add, inner, in, 2)
		k.ctl("cycle", inner, add, outer, in, 3)
		k.events("none", outer, 4, 0)
		k.level("inner", inner)
		k.put("put", fd, 1)
		k.level("inner", inner)
		k.level("outer", outer)
		k.events("outer", outer, 4, 50)
		k.events("outer", outer, 4, 0)
		k.events("inner", inner, 4, 0)
		k.read("drain", fd, 8)
		k.events("outer", outer, 4, 0)
		k.level("inner", inner)
		k.close(fd)
		k.events("outer", outer, 4, 0)
		chain := []uintptr{outer}
		for range 6 {
			next := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
			k.ctl("chain", next, add, chain[len(chain)-1], in, 0)
			chain = append(chain, next)
		}
		k.close(chain...)
		k.close(inner)
	})
}

func TestEpollFairWithFewSlotsAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		ep := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		var fds []uintptr
		for i := range 5 {
			fd := k.fd(t, linux.SYS_EVENTFD2, 1, nonblock)
			k.ctl("add", ep, add, fd, in, uint32(i))
			fds = append(fds, fd)
		}
		for range 4 {
			k.events("two", ep, 2, 0)
		}
		k.close(fds...)
		k.close(ep)
	})
}

func TestEpollWakesWaiterAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		ep := k.fd(t, linux.SYS_EPOLL_CREATE1, 0)
		fd := k.fd(t, linux.SYS_EVENTFD2, 0, nonblock)
		done := make(chan bool)
		go func() { k.events("waits", ep, 4, -1); done <- true }()
		time.Sleep(5 * time.Millisecond)
		// Added while somebody waits, and ready only then.
		ev := &linux.EpollEvent{Events: in, Data: [2]uint32{9}}
		k.raw(linux.SYS_EPOLL_CTL, ep, add, fd, addr(ev))
		k.raw(linux.SYS_WRITE, fd, addr(&[]uint64{7}[0]), 8)
		<-done
		k.close(fd, ep)
	})
}
