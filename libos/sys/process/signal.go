package process

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// Signals belong to the runtime, which installs its handlers below this package. The
// calls here are for a program that makes them itself.

// sysKill is kill(2). There is one process, in one group.
func sysKill(a *call.Args) (uintptr, linux.Errno) {
	if int32(a.A0) < 0 { // other groups, or all but the caller and pid 1
		return 0, linux.ESRCH
	}
	return raise(a.A0, a.A1)
}

// raise sends a signal to the program. Signal 0 only asks whether target exists.
func raise(target, sig uintptr) (uintptr, linux.Errno) {
	if !isSelf(target) {
		return 0, linux.ESRCH
	}
	return signal(sig, platform.Raise)
}

// raiseThread sends a signal to a thread of the program.
func raiseThread(tid, sig uintptr) (uintptr, linux.Errno) {
	id := int(int32(tid))
	if errno := platform.RaiseThread(id, 0); errno != 0 {
		return 0, errno
	}
	return signal(sig, func(sig int) linux.Errno { return platform.RaiseThread(id, sig) })
}

// signal checks sig and sends it with to.
func signal(sig uintptr, to func(sig int) linux.Errno) (uintptr, linux.Errno) {
	switch n := int32(sig); {
	case n < 0 || n > linux.NSIG:
		return 0, linux.EINVAL
	case n == 0:
		return 0, 0
	case n == linux.SIGKILL, n == 32, n == 34: // nptl(7): the runtime leaves 32 and 34 to C libraries
		// These kill a process on Linux. Process 1 of a namespace cannot kill
		// itself with a signal, so it exits.
		platform.Exit(128 + int(n))
	}
	return 0, to(int(int32(sig)))
}

// sigactionSize is the size of the kernel's struct sigaction.
const sigactionSize = 32

// sysSigaction returns the default action for every signal and accepts no handler:
// only the runtime's handler can run Go code.
func sysSigaction(a *call.Args) (uintptr, linux.Errno) {
	sig := int32(a.A0)
	switch {
	case a.A3 != 8, sig < 1 || sig > linux.NSIG:
		return 0, linux.EINVAL
	case a.A1 != 0 && (sig == linux.SIGKILL || sig == linux.SIGSTOP):
		return 0, linux.EINVAL
	case a.A1 != 0:
		return 0, linux.ENOSYS
	}
	if a.A2 != 0 {
		old, errno := call.At[[sigactionSize]byte](a.A2)
		if errno != 0 {
			return 0, errno
		}
		*old = [sigactionSize]byte{}
	}
	return 0, 0
}

// sysSigprocmask reports that no signal is blocked, and accepts any mask. On Linux
// too, a Go program gets a signal that one thread blocks, on another thread.
func sysSigprocmask(a *call.Args) (uintptr, linux.Errno) {
	if a.A3 != 8 {
		return 0, linux.EINVAL
	}
	if a.A1 != 0 {
		if _, errno := call.At[uint64](a.A1); errno != 0 {
			return 0, errno
		}
		if a.A0 > linux.SIG_SETMASK {
			return 0, linux.EINVAL
		}
	}
	if a.A2 != 0 {
		old, errno := call.At[uint64](a.A2)
		if errno != 0 {
			return 0, errno
		}
		*old = 0
	}
	return 0, 0
}

func sysSigpending(a *call.Args) (uintptr, linux.Errno) {
	if a.A1 > 8 {
		return 0, linux.EINVAL
	}
	b, errno := call.Bytes(a.A0, a.A1)
	clear(b)
	return 0, errno
}

// sysSigaltstack reports that there is no alternate stack, and accepts none.
func sysSigaltstack(a *call.Args) (uintptr, linux.Errno) {
	if a.A0 != 0 {
		return 0, linux.EPERM
	}
	if a.A1 != 0 {
		old, errno := call.At[linux.StackT](a.A1)
		if errno != 0 {
			return 0, errno
		}
		*old = linux.StackT{Flags: linux.SS_DISABLE}
	}
	return 0, 0
}

// sysPause is pause(2). It waits forever: only a signal handler could end it, and
// handlers run on the runtime's stacks.
func sysPause(*call.Args) (uintptr, linux.Errno) {
	var w platform.Waiter
	for {
		w.Wait()
	}
}
