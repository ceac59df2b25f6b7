//go:build pith

package runtime

import "unsafe"

// Signals, as the runtime's handlers expect them (Linux, arch/x86/kernel/
// signal_64.c): a frame on the alternate stack, and back by rt_sigreturn.

// vmSigaction is struct kernel_sigaction.
type vmSigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

// vmFault is what a fault says to its handler.
type vmFault struct {
	code          int32
	address       uintptr
	vector, error uintptr
	pending       bool // for the next delivery of signal
	signal        uintptr
}

const (
	vmSAOnStack = 0x08000000
	vmSANoDefer = 0x40000000
	vmSigDfl    = 0
	vmSigIgn    = 1
)

//go:nosplit
func vmSigactionSet(sig, new, old uintptr) uintptr {
	if sig < 1 || sig > 64 {
		return vmErr(_EINVAL)
	}
	a := &vm.sigactions[sig]
	if old != 0 {
		*(*vmSigaction)(unsafe.Pointer(old)) = *a
	}
	if new != 0 {
		*a = *(*vmSigaction)(unsafe.Pointer(new))
	}
	return 0
}

//go:nosplit
func vmSigprocmask(t *vmThread, how, new, old uintptr) uintptr {
	if old != 0 {
		*(*uint64)(unsafe.Pointer(old)) = t.sigmask
	}
	if new == 0 {
		return 0
	}
	set := *(*uint64)(unsafe.Pointer(new))
	switch {
	case how == _SIG_BLOCK:
		t.sigmask |= set
	case how == _SIG_UNBLOCK:
		t.sigmask &^= set
	case how == _SIG_SETMASK:
		t.sigmask = set
	default:
		return vmErr(_EINVAL)
	}
	t.sigmask &^= 1<<(_SIGKILL-1) | 1<<(_SIGSTOP-1)
	return 0
}

//go:nosplit
func vmSigaltstack(t *vmThread, new, old uintptr) uintptr {
	if old != 0 {
		s := (*stackt)(unsafe.Pointer(old))
		*(*uintptr)(unsafe.Pointer(&s.ss_sp)) = t.altSP
		s.ss_size = t.altSize
		s.ss_flags = t.altFlags
		if t.altSize == 0 {
			s.ss_flags = _SS_DISABLE
		}
	}
	if new != 0 {
		s := (*stackt)(unsafe.Pointer(new))
		if s.ss_flags&_SS_DISABLE != 0 {
			t.altSP, t.altSize = 0, 0
		} else {
			t.altSP, t.altSize = *(*uintptr)(unsafe.Pointer(&s.ss_sp)), s.ss_size
		}
	}
	return 0
}

// vmSignalled is the thread that takes a signal to the whole instance: the first
// that does not block it.
//
//go:nosplit
func vmSignalled(sig uintptr) *vmThread {
	for i := range vm.threads {
		if t := vmThreadOf(int32(i + 1)); t != nil && t.sigmask>>(sig-1)&1 == 0 {
			return t
		}
	}
	return vmThreadOf(1)
}

// vmKill sends sig to t: a running thread is interrupted, a waiting one wakes.
//
//go:nosplit
func vmKill(t *vmThread, sig uintptr) uintptr {
	if t == nil {
		return vmErr(_ESRCH)
	}
	if sig == 0 {
		return 0
	}
	if sig > 64 {
		return vmErr(_EINVAL)
	}
	if vm.sigactions[sig].handler == vmSigIgn {
		return 0
	}
	t.pending |= 1 << (sig - 1)
	if t.sigmask>>(sig-1)&1 != 0 {
		return 0
	}
	switch t.state {
	case vmRunning:
		if t.cpu != vmblock().number {
			vm.called |= 1 << t.cpu
		}
	case vmFutexWait:
		vmFutexRemove(t)
		vmReady(t, vmErr(_EINTR))
	case vmPollWait:
		vm.poller = nil
		vmReady(t, vmErr(_EINTR))
	case vmSleep:
		vmReady(t, vmErr(_EINTR))
	}
	return 0
}

// signalled reports whether t has a signal to take. One that came on t's way here,
// while it ran on another CPU, woke nothing: t must not wait with it.
//
//go:nosplit
func (t *vmThread) signalled() bool { return t.pending&^t.sigmask != 0 }

// vmDeliver has t continue in the handler of its first pending signal; false: it
// is ignored.
//
//go:nosplit
func vmDeliver(t *vmThread) bool {
	sig := lowestBit(uintptr(t.pending&^t.sigmask)) + 1
	if t.fault.pending {
		sig = t.fault.signal
	}
	t.pending &^= 1 << (sig - 1)
	a := &vm.sigactions[sig&127]
	if a.handler == vmSigIgn {
		return false
	}
	if a.handler == vmSigDfl {
		switch sig {
		case 17, 18, 23, 28: // CHLD, CONT, URG, WINCH
			return false
		}
		vmnucleus(callExit, 128+sig, 0, 0, 0)
	}
	t.pushFrame(a, sig)
	t.sigmask |= a.mask
	if a.flags&vmSANoDefer == 0 {
		t.sigmask |= 1 << (sig - 1)
	}
	return true
}
