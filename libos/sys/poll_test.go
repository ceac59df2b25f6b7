package sys

import (
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
)

func (k *kernel) poll(label string, ms int, fds ...linux.PollFd) {
	var p uintptr
	if len(fds) > 0 {
		p = addr(&fds[0])
	}
	k.do(label, linux.SYS_POLL, p, uintptr(len(fds)), uintptr(ms))
	for i := range fds {
		k.note("  %#x", fds[i].Revents)
	}
}

func TestPollAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
		const all = 0x7fff
		k.poll("nothing", 1)
		k.poll("not open", -1, linux.PollFd{Fd: 9999, Events: all})
		k.poll("ignored", 0, linux.PollFd{Fd: -1, Events: all, Revents: 7})
		k.poll("both", 100, linux.PollFd{Fd: int32(r), Events: all}, linux.PollFd{Fd: int32(w), Events: all})
		k.poll("time out", 5, linux.PollFd{Fd: int32(r), Events: 1})
		k.poll("the same twice", 5, linux.PollFd{Fd: int32(w), Events: 4}, linux.PollFd{Fd: int32(w), Events: linux.POLLWRNORM})
		k.write("x", w, "x")
		k.poll("readable", 5, linux.PollFd{Fd: int32(r), Events: linux.POLLRDNORM})
		k.poll("not asked", 5, linux.PollFd{Fd: int32(r), Events: 0})
		k.close(w)
		k.poll("hangup not asked", 5, linux.PollFd{Fd: int32(r), Events: 0})
		ts := &linux.Timespec{Nsec: 5e6}
		k.do("ppoll", linux.SYS_PPOLL, addr(&linux.PollFd{Fd: -1}), 1, addr(ts), 0, 8)
		k.note("left %v", *ts)
		k.do("ppoll bad time", linux.SYS_PPOLL, 0, 0, addr(&linux.Timespec{Nsec: 1e9}), 0, 8)
		k.do("ppoll bad mask", linux.SYS_PPOLL, 0, 0, addr(ts), addr(new([8]byte)), 4)
		k.do("null", linux.SYS_POLL, 0, 1, 0)
		k.close(r)
	})
}

func TestPollWakesAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
		e := k.fd(t, linux.SYS_EVENTFD2, 0, nonblock)
		done := make(chan bool)
		go func() {
			k.poll("two", -1, linux.PollFd{Fd: int32(r), Events: 1}, linux.PollFd{Fd: int32(e), Events: 1})
			done <- true
		}()
		time.Sleep(5 * time.Millisecond)
		k.raw(linux.SYS_WRITE, e, addr(&[]uint64{7}[0]), 8)
		<-done
		k.close(r, w, e)
	})
}

func TestSelectAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, nonblock)
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
			k.do(label, linux.SYS_SELECT, n, addr(rd), addr(wr), addr(ex), addr(tv))
			k.note("%v %v %v %v", has(rd, r), has(rd, w), has(wr, w), has(ex, r))
		}
		try("writable", 1024)
		k.write("x", w, "x")
		try("both", 1024)
		try("none counted", 0)
		k.do("negative", linux.SYS_SELECT, ^uintptr(0), 0, 0, 0, 0)
		tv := &linux.Timeval{Usec: 2000}
		k.do("sleep", linux.SYS_SELECT, 0, 0, 0, 0, addr(tv))
		k.note("left %v", *tv)
		k.do("negative time", linux.SYS_SELECT, 0, 0, 0, 0, addr(&linux.Timeval{Sec: -1}))
		closed := k.fd(t, linux.SYS_EVENTFD2, 0, 0)
		k.close(closed)
		k.do("not open", linux.SYS_SELECT, closed+1, addr(sets(closed)), 0, 0, addr(tv))
		k.do("pselect", linux.SYS_PSELECT6, 1024, addr(sets(r)), 0, 0, addr(&linux.Timespec{Nsec: 1e6}), 0)
		k.do("pselect mask", linux.SYS_PSELECT6, 1024, addr(sets(r)), 0, 0, 0, addr(&[2]uintptr{addr(new([8]byte)), 9}))
		k.close(w)
		try("hangup", r+1)
		k.close(r)
	})
}
