package process_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/systest"

	"golang.org/x/sys/unix"
)

func TestProcessCallsRefuseAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		minus := ^uintptr(0)
		k.Do("getpgid nobody", linux.SYS_GETPGID, 99999999)
		k.Do("getsid nobody", linux.SYS_GETSID, 99999999)
		k.Do("setpgid negative", linux.SYS_SETPGID, 0, minus)
		k.Do("wait4", linux.SYS_WAIT4, minus, 0, 0, 0)
		k.Do("kill nobody", linux.SYS_KILL, 99999999, 0)
		k.Do("kill self 0", linux.SYS_KILL, 0, 0)
		k.Do("kill bad signal", linux.SYS_KILL, 0, 65)
		k.Do("tgkill 0", linux.SYS_TGKILL, 0, 0, 0)
		k.Do("tkill 0", linux.SYS_TKILL, 0, 0)
		k.Do("tkill nobody", linux.SYS_TKILL, 99999999, 0)
		k.Do("tgkill nobody's", linux.SYS_TGKILL, 99999999, 1, 0)
		k.Do("uname null", linux.SYS_UNAME, 0)
		k.Do("sysinfo null", linux.SYS_SYSINFO, 0)
		k.Do("getrandom flags", linux.SYS_GETRANDOM, systest.Addr(new([8]byte)), 8, 99)
		k.Do("getrandom both", linux.SYS_GETRANDOM, systest.Addr(new([8]byte)), 8, 6)
		k.Do("getrandom", linux.SYS_GETRANDOM, systest.Addr(new([8]byte)), 8, 0)
		k.Do("getrandom nothing", linux.SYS_GETRANDOM, systest.Addr(new([8]byte)), 0, 0)
		k.Do("getrusage who", linux.SYS_GETRUSAGE, 7, systest.Addr(new(linux.Rusage)))
		k.Do("getrusage", linux.SYS_GETRUSAGE, 0, systest.Addr(new(linux.Rusage)))
		k.Do("getrlimit", linux.SYS_GETRLIMIT, 99, systest.Addr(new(linux.Rlimit)))
		k.Do("setrlimit null", linux.SYS_SETRLIMIT, linux.RLIMIT_NOFILE, 0)
		k.Do("setrlimit odd", linux.SYS_SETRLIMIT, linux.RLIMIT_NOFILE, systest.Addr(&linux.Rlimit{Cur: 9, Max: 8}))
		k.Do("prlimit nobody", linux.SYS_PRLIMIT64, 99999999, linux.RLIMIT_NOFILE, 0, 0)
		k.Do("prlimit nothing", linux.SYS_PRLIMIT64, 0, linux.RLIMIT_NOFILE, 0, 0)
		k.Do("getaffinity short", linux.SYS_SCHED_GETAFFINITY, 0, 4, systest.Addr(new([128]byte)))
		k.Do("priority max", linux.SYS_SCHED_GET_PRIORITY_MAX, linux.SCHED_FIFO)
		k.Do("priority min", linux.SYS_SCHED_GET_PRIORITY_MIN, linux.SCHED_OTHER)
		k.Do("priority policy", linux.SYS_SCHED_GET_PRIORITY_MAX, 77)
		k.Do("getpriority which", linux.SYS_GETPRIORITY, 9, 0)
		k.Do("prctl", linux.SYS_PRCTL, 12345)
		k.Do("dumpable 7", linux.SYS_PRCTL, linux.PR_SET_DUMPABLE, 7)
		k.Do("membarrier flags", linux.SYS_MEMBARRIER, 0, 7)
		h := &linux.CapHeader{Version: 1}
		k.Do("capget version", linux.SYS_CAPGET, systest.Addr(h), systest.Addr(new([2]linux.CapData)))
		k.Note("%#x", h.Version)
		k.Do("sigaction 0", linux.SYS_RT_SIGACTION, 0, 0, 0, 8)
		k.Do("sigaction size", linux.SYS_RT_SIGACTION, 1, 0, 0, 4)
		k.Do("sigprocmask size", linux.SYS_RT_SIGPROCMASK, 0, 0, 0, 4)
		k.Do("sigprocmask how", linux.SYS_RT_SIGPROCMASK, 9, systest.Addr(new(uint64)), 0, 8)
		name := new([16]byte)
		k.Do("set name", linux.SYS_PRCTL, linux.PR_SET_NAME, systest.Addr(&[]byte("a name that is too long\x00")[0]))
		k.Do("get name", linux.SYS_PRCTL, linux.PR_GET_NAME, systest.Addr(name))
		k.Note("%q", name)
		k.Do("nothing like it", 1000)
	})
}

func TestTheProgramIsProcessOne(t *testing.T) {
	for num, want := range map[uintptr]uintptr{
		linux.SYS_GETPID: 1, linux.SYS_GETPPID: 0,
		linux.SYS_GETUID: 0, linux.SYS_GETEGID: 0, linux.SYS_GETPGRP: 1,
	} {
		if got, errno := sys.Call(num, 0, 0, 0, 0, 0, 0); got != want || errno != 0 {
			t.Errorf("call %d = %d, %d; want %d", num, got, errno, want)
		}
	}
	for num, want := range map[uintptr]linux.Errno{
		linux.SYS_SETSID: linux.EPERM, linux.SYS_PTRACE: linux.EPERM, linux.SYS_REBOOT: linux.EPERM,
		linux.SYS_FORK: linux.ENOSYS, linux.SYS_CLONE: linux.ENOSYS, linux.SYS_CLONE3: linux.ENOSYS,
		linux.SYS_EXECVE: linux.ENOSYS, linux.SYS_IO_URING_SETUP: linux.ENOSYS, linux.SYS_RSEQ: linux.ENOSYS,
	} {
		if _, errno := sys.Call(num, 0, 0, 0, 0, 0, 0); errno != want {
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
			tid, _ = sys.Call(linux.SYS_GETTID, 0, 0, 0, 0, 0, 0)
			for _, tid := range []uintptr{tid, first} {
				for _, call := range [][4]uintptr{{linux.SYS_TGKILL, 1, tid, 0}, {linux.SYS_TKILL, tid, 0}, {linux.SYS_GETPGID, tid}} {
					if _, errno := sys.Call(call[0], call[1], call[2], call[3], 0, 0, 0); errno != 0 {
						t.Errorf("call %d of thread %d: errno %d", call[0], tid, errno)
					}
				}
				if _, errno := sys.Call(linux.SYS_TGKILL, 1, tid, 99, 0, 0, 0); errno != linux.EINVAL {
					t.Errorf("no signal, to thread %d: errno %d", tid, errno)
				}
			}
		}()
		<-done
		return tid
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mine, _ := sys.Call(linux.SYS_GETTID, 0, 0, 0, 0, 0, 0)
	if other := id(); other == mine {
		t.Errorf("two threads have id %d", mine)
	}
}

func TestUnameNamesTheKernel(t *testing.T) {
	u := new(linux.Utsname)
	sys.Call(linux.SYS_UNAME, systest.Addr(u), 0, 0, 0, 0, 0)
	if got := unix.ByteSliceToString(u.Release[:]); got != linux.Release {
		t.Errorf("release %q", got)
	}
	name := []byte("renamed")
	sys.Call(linux.SYS_SETHOSTNAME, systest.Addr(&name[0]), uintptr(len(name)), 0, 0, 0, 0)
	sys.Call(linux.SYS_UNAME, systest.Addr(u), 0, 0, 0, 0, 0)
	if got := unix.ByteSliceToString(u.Nodename[:]); got != "renamed" {
		t.Errorf("nodename %q", got)
	}
}

func TestFutexAsLinux(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		word := new(atomic.Uint32)
		word.Store(5)
		p := systest.Addr(word)
		k.Do("other value", linux.SYS_FUTEX, p, linux.FUTEX_WAIT, 4, 0)
		k.Do("time out", linux.SYS_FUTEX, p, linux.FUTEX_WAIT, 5, systest.Addr(&linux.Timespec{Nsec: 2e6}))
		k.Do("absolute, past", linux.SYS_FUTEX, p, linux.FUTEX_WAIT_BITSET, 5, systest.Addr(&linux.Timespec{Nsec: 1}), 0, ^uintptr(0))
		k.Do("no bits", linux.SYS_FUTEX, p, linux.FUTEX_WAIT_BITSET, 5, 0, 0, 0)
		k.Do("odd address", linux.SYS_FUTEX, p+1, linux.FUTEX_WAIT, 5, 0)
		k.Do("bad time", linux.SYS_FUTEX, p, linux.FUTEX_WAIT, 5, systest.Addr(&linux.Timespec{Nsec: -1}))
		k.Do("nobody", linux.SYS_FUTEX, p, linux.FUTEX_WAKE, 1)
		done := make(chan linux.Errno)
		for range 3 {
			go func() {
				_, errno := k.Raw(linux.SYS_FUTEX, p, linux.FUTEX_WAIT|linux.FUTEX_PRIVATE_FLAG, 5, 0)
				done <- errno
			}()
		}
		for woken := uintptr(0); woken < 3; {
			n, _ := k.Raw(linux.SYS_FUTEX, p, linux.FUTEX_WAKE|linux.FUTEX_PRIVATE_FLAG, 2)
			woken += n
			time.Sleep(time.Millisecond)
		}
		k.Note("%d %d %d", <-done, <-done, <-done)
	})
}
