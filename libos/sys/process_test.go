package sys

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

const noAddr = 0

func TestProcessCallsRefuseAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		minus := ^uintptr(0)
		k.do("getpgid nobody", linux.SYS_GETPGID, 99999999)
		k.do("getsid nobody", linux.SYS_GETSID, 99999999)
		k.do("setpgid negative", linux.SYS_SETPGID, 0, minus)
		k.do("wait4", linux.SYS_WAIT4, minus, 0, 0, 0)
		k.do("kill nobody", linux.SYS_KILL, 99999999, 0)
		k.do("kill self 0", linux.SYS_KILL, 0, 0)
		k.do("kill bad signal", linux.SYS_KILL, 0, 65)
		k.do("tgkill 0", linux.SYS_TGKILL, 0, 0, 0)
		k.do("tkill 0", linux.SYS_TKILL, 0, 0)
		k.do("tkill nobody", linux.SYS_TKILL, 99999999, 0)
		k.do("tgkill nobody's", linux.SYS_TGKILL, 99999999, 1, 0)
		k.do("uname null", linux.SYS_UNAME, 0)
		k.do("sysinfo null", linux.SYS_SYSINFO, 0)
		k.do("getrandom flags", linux.SYS_GETRANDOM, addr(new([8]byte)), 8, 99)
		k.do("getrandom both", linux.SYS_GETRANDOM, addr(new([8]byte)), 8, 6)
		k.do("getrandom", linux.SYS_GETRANDOM, addr(new([8]byte)), 8, 0)
		k.do("getrandom nothing", linux.SYS_GETRANDOM, addr(new([8]byte)), 0, 0)
		k.do("getrusage who", linux.SYS_GETRUSAGE, 7, addr(new(linux.Rusage)))
		k.do("getrusage", linux.SYS_GETRUSAGE, 0, addr(new(linux.Rusage)))
		k.do("getrlimit", linux.SYS_GETRLIMIT, 99, addr(new(linux.Rlimit)))
		k.do("setrlimit null", linux.SYS_SETRLIMIT, linux.RLIMIT_NOFILE, 0)
		k.do("setrlimit odd", linux.SYS_SETRLIMIT, linux.RLIMIT_NOFILE, addr(&linux.Rlimit{Cur: 9, Max: 8}))
		k.do("prlimit nobody", linux.SYS_PRLIMIT64, 99999999, linux.RLIMIT_NOFILE, 0, 0)
		k.do("prlimit nothing", linux.SYS_PRLIMIT64, 0, linux.RLIMIT_NOFILE, 0, 0)
		k.do("getaffinity short", linux.SYS_SCHED_GETAFFINITY, 0, 4, addr(new([128]byte)))
		k.do("priority max", linux.SYS_SCHED_GET_PRIORITY_MAX, linux.SCHED_FIFO)
		k.do("priority min", linux.SYS_SCHED_GET_PRIORITY_MIN, linux.SCHED_OTHER)
		k.do("priority policy", linux.SYS_SCHED_GET_PRIORITY_MAX, 77)
		k.do("getpriority which", linux.SYS_GETPRIORITY, 9, 0)
		k.do("prctl", linux.SYS_PRCTL, 12345)
		k.do("dumpable 7", linux.SYS_PRCTL, linux.PR_SET_DUMPABLE, 7)
		k.do("membarrier flags", linux.SYS_MEMBARRIER, 0, 7)
		h := &linux.CapHeader{Version: 1}
		k.do("capget version", linux.SYS_CAPGET, addr(h), addr(new([2]linux.CapData)))
		k.note("%#x", h.Version)
		k.do("sigaction 0", linux.SYS_RT_SIGACTION, 0, 0, 0, 8)
		k.do("sigaction size", linux.SYS_RT_SIGACTION, 1, 0, 0, 4)
		k.do("sigprocmask size", linux.SYS_RT_SIGPROCMASK, 0, 0, 0, 4)
		k.do("sigprocmask how", linux.SYS_RT_SIGPROCMASK, 9, addr(new(uint64)), 0, 8)
		name := new([16]byte)
		k.do("set name", linux.SYS_PRCTL, linux.PR_SET_NAME, addr(&[]byte("a name that is too long\x00")[0]))
		k.do("get name", linux.SYS_PRCTL, linux.PR_GET_NAME, addr(name))
		k.note("%q", name)
		k.do("nothing like it", 1000)
	})
}

func TestTheProgramIsProcessOne(t *testing.T) {
	for num, want := range map[uintptr]uintptr{
		linux.SYS_GETPID: 1, linux.SYS_GETPPID: 0,
		linux.SYS_GETUID: 0, linux.SYS_GETEGID: 0, linux.SYS_GETPGRP: 1,
	} {
		if got, errno := Call(num, 0, 0, 0, 0, 0, 0); got != want || errno != 0 {
			t.Errorf("call %d = %d, %d; want %d", num, got, errno, want)
		}
	}
	for num, want := range map[uintptr]linux.Errno{
		linux.SYS_SETSID: linux.EPERM, linux.SYS_PTRACE: linux.EPERM, linux.SYS_REBOOT: linux.EPERM,
		linux.SYS_FORK: linux.ENOSYS, linux.SYS_CLONE: linux.ENOSYS, linux.SYS_CLONE3: linux.ENOSYS,
		linux.SYS_EXECVE: linux.ENOSYS, linux.SYS_IO_URING_SETUP: linux.ENOSYS, linux.SYS_RSEQ: linux.ENOSYS,
	} {
		if _, errno := Call(num, 0, 0, 0, 0, 0, 0); errno != want {
			t.Errorf("call %d: errno %d, want %d", num, errno, want)
		}
	}
}

func TestThreadsAreToldApart(t *testing.T) {
	const first = 1
	id := func() (tid uintptr) {
		done := make(chan bool)
		go func() {
			defer close(done)
			runtime.LockOSThread() // and ends with it
			tid, _ = Call(linux.SYS_GETTID, 0, 0, 0, 0, 0, 0)
			for _, tid := range []uintptr{tid, first} {
				for _, call := range [][4]uintptr{{linux.SYS_TGKILL, 1, tid, 0}, {linux.SYS_TKILL, tid, 0}, {linux.SYS_GETPGID, tid}} {
					if _, errno := Call(call[0], call[1], call[2], call[3], 0, 0, 0); errno != 0 {
						t.Errorf("call %d of thread %d: errno %d", call[0], tid, errno)
					}
				}
				if _, errno := Call(linux.SYS_TGKILL, 1, tid, 99, 0, 0, 0); errno != linux.EINVAL {
					t.Errorf("no signal, to thread %d: errno %d", tid, errno)
				}
			}
		}()
		<-done
		return tid
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mine, _ := Call(linux.SYS_GETTID, 0, 0, 0, 0, 0, 0)
	if other := id(); other == mine {
		t.Errorf("two threads have id %d", mine)
	}
}

func TestUnameNamesTheKernel(t *testing.T) {
	u := new(linux.Utsname)
	Call(linux.SYS_UNAME, addr(u), 0, 0, 0, 0, 0)
	if got := unix.ByteSliceToString(u.Release[:]); got != linux.Release {
		t.Errorf("release %q", got)
	}
	name := []byte("renamed")
	Call(linux.SYS_SETHOSTNAME, addr(&name[0]), uintptr(len(name)), 0, 0, 0, 0)
	Call(linux.SYS_UNAME, addr(u), 0, 0, 0, 0, 0)
	if got := unix.ByteSliceToString(u.Nodename[:]); got != "renamed" {
		t.Errorf("nodename %q", got)
	}
}

func TestTimeAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		for _, id := range []uintptr{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 99} {
			ts := new(linux.Timespec)
			k.do("gettime", linux.SYS_CLOCK_GETTIME, id, addr(ts))
			k.note("%d: %v", id, ts.Nano() > 0)
			k.do("getres bad", linux.SYS_CLOCK_GETRES, id, noAddr)
		}
		k.do("gettime null", linux.SYS_CLOCK_GETTIME, 0, 0)
		bad := addr(&linux.Timespec{Nsec: 1e9})
		k.do("nanosleep bad", linux.SYS_NANOSLEEP, bad, 0)
		k.do("nanosleep null", linux.SYS_NANOSLEEP, 0, 0)
		k.do("nanosleep", linux.SYS_NANOSLEEP, addr(&linux.Timespec{Nsec: 1e6}), 0)
		k.do("sleep clock", linux.SYS_CLOCK_NANOSLEEP, 99, 0, bad, 0)
		k.do("sleep thread clock", linux.SYS_CLOCK_NANOSLEEP, linux.CLOCK_THREAD_CPUTIME_ID, 0, bad, 0)
		k.do("sleep to the past", linux.SYS_CLOCK_NANOSLEEP, linux.CLOCK_REALTIME, linux.TIMER_ABSTIME, addr(&linux.Timespec{Sec: 1}), 0)
		tv := new(linux.Timeval)
		k.do("gettimeofday", linux.SYS_GETTIMEOFDAY, addr(tv), 0)
		k.note("%v", time.Since(time.Unix(tv.Sec, tv.Usec*1000)) < time.Second)
		it := new(linux.Itimerval)
		k.do("getitimer", linux.SYS_GETITIMER, 0, addr(it))
		k.note("%v", *it)
		k.do("getitimer which", linux.SYS_GETITIMER, 9, addr(it))
		k.do("setitimer which", linux.SYS_SETITIMER, 9, addr(it))
		k.do("setitimer bad", linux.SYS_SETITIMER, 0, addr(&linux.Itimerval{Value: linux.Timeval{Usec: 1e6}}), 0)
		k.do("setitimer", linux.SYS_SETITIMER, 0, addr(&linux.Itimerval{Value: linux.Timeval{Sec: 100}, Interval: linux.Timeval{Sec: 3}}), 0)
		k.do("getitimer", linux.SYS_GETITIMER, 0, addr(it))
		k.note("%d %d", (it.Value.Sec+1)/10, it.Interval.Sec)
		k.do("alarm", linux.SYS_ALARM, 50)
		k.do("alarm off", linux.SYS_ALARM, 0)
		k.do("alarm again", linux.SYS_ALARM, 0)
	})
}

func TestFutexAsLinux(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		word := new(atomic.Uint32)
		word.Store(5)
		p := addr(word)
		k.do("other value", linux.SYS_FUTEX, p, linux.FUTEX_WAIT, 4, 0)
		k.do("time out", linux.SYS_FUTEX, p, linux.FUTEX_WAIT, 5, addr(&linux.Timespec{Nsec: 2e6}))
		k.do("absolute, past", linux.SYS_FUTEX, p, linux.FUTEX_WAIT_BITSET, 5, addr(&linux.Timespec{Nsec: 1}), 0, ^uintptr(0))
		k.do("no bits", linux.SYS_FUTEX, p, linux.FUTEX_WAIT_BITSET, 5, 0, 0, 0)
		k.do("odd address", linux.SYS_FUTEX, p+1, linux.FUTEX_WAIT, 5, 0)
		k.do("bad time", linux.SYS_FUTEX, p, linux.FUTEX_WAIT, 5, addr(&linux.Timespec{Nsec: -1}))
		k.do("nobody", linux.SYS_FUTEX, p, linux.FUTEX_WAKE, 1)
		done := make(chan linux.Errno)
		for range 3 {
			go func() {
				_, errno := k.raw(linux.SYS_FUTEX, p, linux.FUTEX_WAIT|linux.FUTEX_PRIVATE_FLAG, 5, 0)
				done <- errno
			}()
		}
		for woken := uintptr(0); woken < 3; {
			n, _ := k.raw(linux.SYS_FUTEX, p, linux.FUTEX_WAKE|linux.FUTEX_PRIVATE_FLAG, 2)
			woken += n
			time.Sleep(time.Millisecond)
		}
		k.note("%d %d %d", <-done, <-done, <-done)
	})
}
