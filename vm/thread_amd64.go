//go:build pith

package runtime

import "unsafe"

// vmRegisters are the registers of a thread that does not run.
type vmRegisters struct {
	xsave [3072]byte // FXSAVE's or XSAVE's area, which wants a multiple of 64

	ax, bx, cx, dx, si, di, bp, sp       uintptr
	r8, r9, r10, r11, r12, r13, r14, r15 uintptr
	ip, flags                            uintptr

	tls   uintptr // the thread pointer: FS base
	mxcsr uint32  // while full is 0; xsave has it else
	full  uint32  // it was interrupted: all registers count, and xsave; else those that a call keeps
}

// arg1 to arg5 are the arguments of the system call that the thread makes.
//
//go:nosplit
func (r *vmRegisters) arg1() uintptr { return r.di }

//go:nosplit
func (r *vmRegisters) arg2() uintptr { return r.si }

//go:nosplit
func (r *vmRegisters) arg3() uintptr { return r.dx }

//go:nosplit
func (r *vmRegisters) arg4() uintptr { return r.r10 }

// setResult gives the system call its result.
//
//go:nosplit
func (r *vmRegisters) setResult(v uintptr) { r.ax = v }

// reset gives the vector registers the state that a thread begins with.
//
//go:nosplit
func (r *vmRegisters) reset() {
	*(*uint16)(unsafe.Pointer(&r.xsave[0])) = 0x37f   // x87 control
	*(*uint32)(unsafe.Pointer(&r.xsave[24])) = 0x1f80 // MXCSR
	r.mxcsr = 0x1f80
}

// clone makes r the registers of a thread that t makes by clone(2): the second
// argument is its stack, the fifth its thread pointer, with CLONE_SETTLS.
//
//go:nosplit
func (r *vmRegisters) clone(t *vmThread) {
	const setTLS = 0x80000
	r.bx, r.dx, r.si, r.di, r.bp = t.bx, t.dx, t.si, t.di, t.bp
	r.r8, r.r9, r.r10 = t.r8, t.r9, t.r10
	r.r12, r.r13, r.r14, r.r15 = t.r12, t.r13, t.r14, t.r15
	r.ip, r.sp = t.ip, t.si
	r.mxcsr = t.mxcsr
	r.tls = t.tls
	if t.di&setTLS != 0 {
		r.tls = t.r8
	}
}

// enter has the thread begin at address ip, with the stack pointer sp.
//
//go:nosplit
func (r *vmRegisters) enter(ip, sp uintptr) { r.ip, r.sp = ip, sp }

// vmSetTLS sets this CPU's thread pointer, for the thread that it is about to
// run.
//
//go:nosplit
func vmSetTLS(v uintptr) {
	if vmSharedPage().fsgsbase {
		vmwrfsbase(v)
	} else {
		vmnucleus(callTLS, v, 0, 0, 0)
	}
}

// Functions in gate_amd64.s.

func vmnucleus(num, a1, a2, a3, a4 uintptr) uintptr
func vmblock() *cpuBlock
func vmwrfsbase(v uintptr)
func vmcounter() uintptr
func vmscale(v, mult uintptr) uintptr
func vmcpuid(leaf, sub uint32) (a, b, c, d uint32)
func vmrdrand() (v uintptr, ok bool)
func vmxchg(p *uint32, v uint32) uint32
func vmxchg64(p *uint64, v uint64) uint64
func vmpause()
func vmrt0() uintptr
func vmclockaddress() uintptr
