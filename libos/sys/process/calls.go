// Package process has the system calls about the program: identity, signals,
// limits, scheduling, futexes, and what the system is called.
package process

import (
	"runtime"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// Common are the calls that package syscall makes itself: see package sys.
var Common = []call.Entry{
	// The process.
	{linux.SYS_GETPID, func(*call.Args) (uintptr, linux.Errno) { return pid, 0 }},
	{linux.SYS_GETPGRP, func(*call.Args) (uintptr, linux.Errno) { return pid, 0 }},
	{linux.SYS_SET_TID_ADDRESS, func(*call.Args) (uintptr, linux.Errno) { return pid, 0 }},
	{linux.SYS_GETPPID, func(*call.Args) (uintptr, linux.Errno) { return ppid, 0 }},
	{linux.SYS_GETTID, func(*call.Args) (uintptr, linux.Errno) { return uintptr(platform.ThreadID()), 0 }},
	{linux.SYS_GETPGID, func(a *call.Args) (uintptr, linux.Errno) { return ofProcess(a, pid) }},
	{linux.SYS_SETPGID, func(a *call.Args) (uintptr, linux.Errno) {
		if int32(a.A1) < 0 {
			return 0, linux.EINVAL
		}
		if !isSelf(a.A0) {
			return 0, linux.ESRCH
		}
		return 0, linux.EPERM // a session's leader stays in its group
	}},
	// Calls that change other processes, or the system.
	{linux.SYS_SETSID, call.NotPermitted},
	{linux.SYS_PTRACE, call.NotPermitted},
	{linux.SYS_REBOOT, call.NotPermitted},
	{linux.SYS_WAIT4, noChild},
	{linux.SYS_WAITID, noChild},
	{linux.SYS_EXIT, exit},
	{linux.SYS_EXIT_GROUP, exit},
	{linux.SYS_PRCTL, sysPrctl},
	// Signals.
	{linux.SYS_KILL, sysKill},
	{linux.SYS_TGKILL, func(a *call.Args) (uintptr, linux.Errno) {
		if int32(a.A0) <= 0 || int32(a.A1) <= 0 {
			return 0, linux.EINVAL
		}
		if int32(a.A0) != pid {
			return 0, linux.ESRCH
		}
		return raiseThread(a.A1, a.A2)
	}},
	{linux.SYS_PAUSE, sysPause},
	// Users, groups, capabilities.
	{linux.SYS_GETUID, func(*call.Args) (uintptr, linux.Errno) { return uintptr(cred.Current().UID.Real), 0 }},
	{linux.SYS_GETEUID, func(*call.Args) (uintptr, linux.Errno) { return uintptr(cred.Current().UID.Effective), 0 }},
	{linux.SYS_GETGID, func(*call.Args) (uintptr, linux.Errno) { return uintptr(cred.Current().GID.Real), 0 }},
	{linux.SYS_GETEGID, func(*call.Args) (uintptr, linux.Errno) { return uintptr(cred.Current().GID.Effective), 0 }},
	{linux.SYS_SETFSUID, func(a *call.Args) (uintptr, linux.Errno) { return uintptr(cred.User.SetFS(uint32(a.A0))), 0 }},
	{linux.SYS_SETFSGID, func(a *call.Args) (uintptr, linux.Errno) { return uintptr(cred.Group.SetFS(uint32(a.A0))), 0 }},
	{linux.SYS_GETGROUPS, getgroups},
	{linux.SYS_CAPGET, sysCapget},
	{linux.SYS_CAPSET, sysCapset},
	// The system, limits, scheduling.
	{linux.SYS_UNAME, sysUname},
	{linux.SYS_SETHOSTNAME, sysSethostname},
	{linux.SYS_SYSINFO, sysSysinfo},
	{linux.SYS_GETRANDOM, sysGetrandom},
	{linux.SYS_GETRUSAGE, sysGetrusage},
	{linux.SYS_PRLIMIT64, func(a *call.Args) (uintptr, linux.Errno) {
		if !isSelf(a.A0) {
			return 0, linux.ESRCH
		}
		return rlimit(a.A1, a.A2, a.A3)
	}},
	{linux.SYS_GETPRIORITY, func(a *call.Args) (uintptr, linux.Errno) {
		if a.A0 > 2 {
			return 0, linux.EINVAL
		}
		if !isSelf(a.A1) {
			return 0, linux.ESRCH
		}
		return 20, 0 // nice 0, in the kernel's terms (getpriority(2), "C library/kernel differences")
	}},
	{linux.SYS_SETPRIORITY, func(a *call.Args) (uintptr, linux.Errno) {
		switch {
		case a.A0 > 2:
			return 0, linux.EINVAL
		case !isSelf(a.A1):
			return 0, linux.ESRCH
		case int32(a.A2) != 0: // goroutines have no priorities
			return 0, linux.EPERM
		}
		return 0, 0
	}},
}

// Rest are the calls that only a program that names system calls makes: see
// package sys.
var Rest = []call.Entry{
	// The process.
	{linux.SYS_GETSID, func(a *call.Args) (uintptr, linux.Errno) { return ofProcess(a, pid) }},
	{linux.SYS_PERSONALITY, func(a *call.Args) (uintptr, linux.Errno) {
		if p := uint32(a.A0); p != 0 && p != ^uint32(0) { // to ask
			return 0, linux.EINVAL
		}
		return 0, 0
	}},
	// Signals.
	{linux.SYS_TKILL, func(a *call.Args) (uintptr, linux.Errno) {
		if int32(a.A0) <= 0 {
			return 0, linux.EINVAL
		}
		return raiseThread(a.A0, a.A1)
	}},
	{linux.SYS_RT_SIGQUEUEINFO, func(a *call.Args) (uintptr, linux.Errno) {
		if a.A2 < platform.PageSize {
			return 0, linux.EFAULT
		}
		return raise(a.A0, a.A1)
	}},
	{linux.SYS_RT_SIGACTION, sysSigaction},
	{linux.SYS_RT_SIGPROCMASK, sysSigprocmask},
	{linux.SYS_RT_SIGPENDING, sysSigpending},
	{linux.SYS_SIGALTSTACK, sysSigaltstack},
	// Users, groups, capabilities.
	{linux.SYS_SETUID, func(a *call.Args) (uintptr, linux.Errno) { return 0, cred.User.Set(uint32(a.A0)) }},
	{linux.SYS_SETGID, func(a *call.Args) (uintptr, linux.Errno) { return 0, cred.Group.Set(uint32(a.A0)) }},
	{linux.SYS_SETREUID, func(a *call.Args) (uintptr, linux.Errno) {
		return 0, cred.User.SetRE(uint32(a.A0), uint32(a.A1))
	}},
	{linux.SYS_SETREGID, func(a *call.Args) (uintptr, linux.Errno) {
		return 0, cred.Group.SetRE(uint32(a.A0), uint32(a.A1))
	}},
	{linux.SYS_SETRESUID, func(a *call.Args) (uintptr, linux.Errno) {
		return 0, cred.User.SetRES(uint32(a.A0), uint32(a.A1), uint32(a.A2))
	}},
	{linux.SYS_SETRESGID, func(a *call.Args) (uintptr, linux.Errno) {
		return 0, cred.Group.SetRES(uint32(a.A0), uint32(a.A1), uint32(a.A2))
	}},
	{linux.SYS_GETRESUID, func(a *call.Args) (uintptr, linux.Errno) { return putIDs(a, cred.Current().UID) }},
	{linux.SYS_GETRESGID, func(a *call.Args) (uintptr, linux.Errno) { return putIDs(a, cred.Current().GID) }},
	{linux.SYS_SETGROUPS, setgroups},
	// The system, limits, scheduling.
	{linux.SYS_GETRLIMIT, func(a *call.Args) (uintptr, linux.Errno) { return rlimit(a.A0, 0, a.A1) }},
	{linux.SYS_SETRLIMIT, func(a *call.Args) (uintptr, linux.Errno) {
		if a.A1 == 0 {
			return 0, linux.EFAULT
		}
		return rlimit(a.A0, a.A1, 0)
	}},
	{linux.SYS_SCHED_YIELD, func(*call.Args) (uintptr, linux.Errno) {
		runtime.Gosched()
		return 0, 0
	}},
	{linux.SYS_SCHED_GETAFFINITY, sysSchedGetaffinity},
	{linux.SYS_SCHED_SETAFFINITY, sysSchedSetaffinity},
	{linux.SYS_SCHED_GETSCHEDULER, func(a *call.Args) (uintptr, linux.Errno) { return ofProcess(a, linux.SCHED_OTHER) }},
	{linux.SYS_SCHED_GETPARAM, sysSchedGetparam},
	{linux.SYS_SCHED_GET_PRIORITY_MAX, func(a *call.Args) (uintptr, linux.Errno) { return schedPriority(a, 99) }},
	{linux.SYS_SCHED_GET_PRIORITY_MIN, func(a *call.Args) (uintptr, linux.Errno) { return schedPriority(a, 1) }},
	{linux.SYS_GETCPU, sysGetcpu},
	// membarrier(2) has no command but the query: goroutines synchronise with
	// sync/atomic.
	{linux.SYS_MEMBARRIER, func(a *call.Args) (uintptr, linux.Errno) {
		if a.A0 != 0 || a.A1 != 0 {
			return 0, linux.EINVAL
		}
		return 0, 0
	}},
	// Futexes of the program; those of the runtime go to the platform.
	{linux.SYS_FUTEX, sysFutex},
}
