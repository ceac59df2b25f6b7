package polling_test

import (
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/systest"
)

func poll(k *systest.Kernel, label string, ms int, fds ...linux.PollFd) {
	var p uintptr
	if len(fds) > 0 {
		p = systest.Addr(&fds[0])
	}
	k.Do(label, linux.SYS_POLL, p, uintptr(len(fds)), uintptr(ms))
	for i := range fds {
		k.Note("  %#x", fds[i].Revents)
	}
}

func TestPollAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		const all = 0x7fff
		poll(k, "nothing", 1)
		poll(k, "not open", -1, linux.PollFd{Fd: 9999, Events: all})
		poll(k, "ignored", 0, linux.PollFd{Fd: -1, Events: all, Revents: 7})
		poll(k, "both", 100, linux.PollFd{Fd: int32(r), Events: all}, linux.PollFd{Fd: int32(w), Events: all})
		poll(k, "time out", 5, linux.PollFd{Fd: int32(r), Events: 1})
		poll(k, "the same twice", 5, linux.PollFd{Fd: int32(w), Events: 4}, linux.PollFd{Fd: int32(w), Events: linux.POLLWRNORM})
		k.Write("x", w, "x")
		poll(k, "readable", 5, linux.PollFd{Fd: int32(r), Events: linux.POLLRDNORM})
		poll(k, "not asked", 5, linux.PollFd{Fd: int32(r), Events: 0})
		k.Close(w)
		poll(k, "hangup not asked", 5, linux.PollFd{Fd: int32(r), Events: 0})
		ts := &linux.Timespec{Nsec: 5e6}
		k.Do("ppoll", linux.SYS_PPOLL, systest.Addr(&linux.PollFd{Fd: -1}), 1, systest.Addr(ts), 0, 8)
		k.Note("left %v", *ts)
		k.Do("ppoll bad time", linux.SYS_PPOLL, 0, 0, systest.Addr(&linux.Timespec{Nsec: 1e9}), 0, 8)
		k.Do("ppoll bad mask", linux.SYS_PPOLL, 0, 0, systest.Addr(ts), systest.Addr(new([8]byte)), 4)
		k.Do("null", linux.SYS_POLL, 0, 1, 0)
		k.Close(r)
	})
}

func TestPollWakesAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		e := k.FD(t, linux.SYS_EVENTFD2, 0, nonblock)
		done := make(chan bool)
		go func() {
			poll(k, "two", -1, linux.PollFd{Fd: int32(r), Events: 1}, linux.PollFd{Fd: int32(e), Events: 1})
			done <- true
		}()
		time.Sleep(5 * time.Millisecond)
		k.Raw(linux.SYS_WRITE, e, systest.Addr(&[]uint64{7}[0]), 8)
		<-done
		k.Close(r, w, e)
	})
}

func TestSelectAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		r, w := k.Pair(t, linux.SYS_PIPE2, nonblock)
		type set [16]uint64
		sets := func(fds ...uintptr) *set {
			s := new(set)
			for _, fd := range fds {
				s[fd/64] |= 1 << (fd % 64)
			}
			return s
		}
		has := func(s *set, fd uintptr) bool { return s[fd/64]>>(fd%64)&1 == 1 }
		try := func(label string, n uintptr) {
			rd, wr, ex := sets(r, w), sets(w), sets(r)
			tv := &linux.Timeval{Usec: 3000}
			k.Do(label, linux.SYS_SELECT, n, systest.Addr(rd), systest.Addr(wr), systest.Addr(ex), systest.Addr(tv))
			k.Note("%v %v %v %v", has(rd, r), has(rd, w), has(wr, w), has(ex, r))
		}
		try("writable", 1024)
		k.Write("x", w, "x")
		try("both", 1024)
		try("none counted", 0)
		k.Do("negative", linux.SYS_SELECT, ^uintptr(0), 0, 0, 0, 0)
		tv := &linux.Timeval{Usec: 2000}
		k.Do("sleep", linux.SYS_SELECT, 0, 0, 0, 0, systest.Addr(tv))
		k.Note("left %v", *tv)
		k.Do("negative time", linux.SYS_SELECT, 0, 0, 0, 0, systest.Addr(&linux.Timeval{Sec: -1}))
		closed := k.FD(t, linux.SYS_EVENTFD2, 0, 0)
		k.Close(closed)
		k.Do("not open", linux.SYS_SELECT, closed+1, systest.Addr(sets(closed)), 0, 0, systest.Addr(tv))
		k.Do("pselect", linux.SYS_PSELECT6, 1024, systest.Addr(sets(r)), 0, 0, systest.Addr(&linux.Timespec{Nsec: 1e6}), 0)
		k.Do("pselect mask", linux.SYS_PSELECT6, 1024, systest.Addr(sets(r)), 0, 0, 0, systest.Addr(&[2]uintptr{systest.Addr(new([8]byte)), 9}))
		k.Close(w)
		try("hangup", r+1)
		k.Close(r)
	})
}
