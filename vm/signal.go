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

// vmSigframe is struct rt_sigframe with the vector state behind it.
type vmSigframe struct {
	restorer uintptr
	uc       ucontext
	info     [128]byte
	full     uintptr
	_        [7]uintptr
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

// vmException makes a signal of the exception that t ran into (SDM 3A §6.15).
//
//go:nosplit
func vmException(t *vmThread, vector, code, address uintptr) {
	sig, si := uintptr(_SIGSEGV), int32(_SI_KERNEL)
	switch {
	case vector == 0:
		sig, si = _SIGFPE, _FPE_INTDIV
		address = t.ip
	case vector == 1 || vector == 3:
		sig, si = _SIGTRAP, _SI_KERNEL
	case vector == 4 || vector == 5:
		sig = _SIGSEGV
	case vector == 6:
		sig, si = _SIGILL, 2 // ILL_ILLOPN
		address = t.ip
	case vector == 14:
		si = _SEGV_MAPERR
		if code&faultMapped != 0 {
			si = _SEGV_ACCERR
		}
		if address >= 1<<47 {
			si, address = _SI_KERNEL, 0
		}
	case vector == 16 || vector == 19:
		sig, si = _SIGFPE, 7 // FPE_FLTINV
		address = t.ip
	case vector == 17:
		sig, si = _SIGBUS, 1 // BUS_ADRALN
	}
	t.fault = vmFault{si, address, vector, code & 0xffff, true, sig}
	if t.sigmask>>(sig-1)&1 != 0 || vm.sigactions[sig].handler <= vmSigIgn {
		// A fault that its thread does not handle ends the program.
		t.sigmask &^= 1 << (sig - 1)
		vm.sigactions[sig].handler = vmSigDfl
	}
	t.pending |= 1 << (sig - 1)
}

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
	sp := t.sp - 128 // the red zone
	if a.flags&vmSAOnStack != 0 && t.altSize != 0 && !(t.altSP < t.sp && t.sp <= t.altSP+t.altSize) {
		sp = t.altSP + t.altSize
	}
	xsave := (sp - unsafe.Sizeof(t.xsave)) &^ 63
	at := (xsave-unsafe.Sizeof(vmSigframe{}))&^15 - 8
	f := (*vmSigframe)(unsafe.Pointer(at))
	memclrNoHeapPointers(unsafe.Pointer(at), unsafe.Sizeof(*f))
	f.restorer = a.restorer
	f.full = uintptr(t.full)
	if t.full != 0 {
		memmove(unsafe.Pointer(xsave), unsafe.Pointer(&t.xsave), unsafe.Sizeof(t.xsave))
	}
	m := (*sigcontext)(unsafe.Pointer(&f.uc.uc_mcontext))
	m.rax, m.rbx, m.rcx, m.rdx = uint64(t.ax), uint64(t.bx), uint64(t.cx), uint64(t.dx)
	m.rsi, m.rdi, m.rbp, m.rsp = uint64(t.si), uint64(t.di), uint64(t.bp), uint64(t.sp)
	m.r8, m.r9, m.r10, m.r11 = uint64(t.r8), uint64(t.r9), uint64(t.r10), uint64(t.r11)
	m.r12, m.r13, m.r14, m.r15 = uint64(t.r12), uint64(t.r13), uint64(t.r14), uint64(t.r15)
	m.rip, m.eflags, m.cs = uint64(t.ip), uint64(t.flags), selCode3
	m.oldmask = t.sigmask
	*(*uint64)(unsafe.Pointer(&f.uc.uc_sigmask)) = t.sigmask
	info := (*siginfo)(unsafe.Pointer(&f.info))
	info.si_signo = int32(sig)
	if t.fault.pending {
		t.fault.pending = false
		info.si_code, info.si_addr = t.fault.code, uint64(t.fault.address)
		m.trapno, m.err, m.cr2 = uint64(t.fault.vector), uint64(t.fault.error), uint64(t.fault.address)
	} else {
		info.si_code = _SI_TKILL
	}
	*(*uintptr)(unsafe.Pointer(&m.fpstate)) = xsave

	t.sigmask |= a.mask
	if a.flags&vmSANoDefer == 0 {
		t.sigmask |= 1 << (sig - 1)
	}
	t.sp, t.ip = at, a.handler
	t.di, t.si, t.dx = sig, uintptr(unsafe.Pointer(&f.info)), uintptr(unsafe.Pointer(&f.uc))
	t.ax = 0
	t.full = 0
	return true
}

// vmSigreturn is rt_sigreturn(2): t goes on where its signal found it, or where
// the handler sends it.
//
//go:nosplit
func vmSigreturn(t *vmThread) {
	// The gate took a return address where there is none: SP is behind the
	// frame's first word and one more.
	f := (*vmSigframe)(unsafe.Pointer(t.sp - 16))
	m := (*sigcontext)(unsafe.Pointer(&f.uc.uc_mcontext))
	t.ax, t.bx, t.cx, t.dx = uintptr(m.rax), uintptr(m.rbx), uintptr(m.rcx), uintptr(m.rdx)
	t.si, t.di, t.bp, t.sp = uintptr(m.rsi), uintptr(m.rdi), uintptr(m.rbp), uintptr(m.rsp)
	t.r8, t.r9, t.r10, t.r11 = uintptr(m.r8), uintptr(m.r9), uintptr(m.r10), uintptr(m.r11)
	t.r12, t.r13, t.r14, t.r15 = uintptr(m.r12), uintptr(m.r13), uintptr(m.r14), uintptr(m.r15)
	const userFlags = 0xcd5 | 1<<8 | 1<<18 // arithmetic, DF, TF, AC
	t.ip, t.flags = uintptr(m.rip), uintptr(m.eflags)&userFlags|flagsUser
	t.sigmask = *(*uint64)(unsafe.Pointer(&f.uc.uc_sigmask))
	t.full = uint32(f.full)
	if t.full != 0 {
		memmove(unsafe.Pointer(&t.xsave), unsafe.Pointer(*(*uintptr)(unsafe.Pointer(&m.fpstate))), unsafe.Sizeof(t.xsave))
	}
}
