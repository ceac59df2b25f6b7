//go:build pith

package runtime

import "unsafe"

// Signal frames as Linux makes them (arch/x86/kernel/signal_64.c).

// vmSigframe is struct rt_sigframe with the vector state behind it.
type vmSigframe struct {
	restorer uintptr
	uc       ucontext
	info     [128]byte
	full     uintptr
	_        [7]uintptr
}

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

// pushFrame puts the frame of signal sig on the stack that its action a names and
// has t continue in the handler.
//
//go:nosplit
func (t *vmThread) pushFrame(a *vmSigaction, sig uintptr) {
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

	t.sp, t.ip = at, a.handler
	t.di, t.si, t.dx = sig, uintptr(unsafe.Pointer(&f.info)), uintptr(unsafe.Pointer(&f.uc))
	t.ax = 0
	t.full = 0
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
