//go:build pith

// From threads to the thread layer and back, all at CPL 3. GS holds the address of the
// CPU's cpuBlock. While cpuBlock.masked is set, the CPU gets no upcall.

#include "go_asm.h"
#include "textflag.h"

// vmgate is pithgate in a virtual machine. It makes system call AX for the current
// thread.
TEXT runtime·vmgate(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$1, cpuBlock_masked(GS)
	MOVQ	cpuBlock_thread(GS), CX
	MOVQ	BX, (vmThread_vmRegisters+vmRegisters_bx)(CX)
	MOVQ	DX, (vmThread_vmRegisters+vmRegisters_dx)(CX)
	MOVQ	SI, (vmThread_vmRegisters+vmRegisters_si)(CX)
	MOVQ	DI, (vmThread_vmRegisters+vmRegisters_di)(CX)
	MOVQ	BP, (vmThread_vmRegisters+vmRegisters_bp)(CX)
	MOVQ	R8, (vmThread_vmRegisters+vmRegisters_r8)(CX)
	MOVQ	R9, (vmThread_vmRegisters+vmRegisters_r9)(CX)
	MOVQ	R10, (vmThread_vmRegisters+vmRegisters_r10)(CX)
	MOVQ	R12, (vmThread_vmRegisters+vmRegisters_r12)(CX)
	MOVQ	R13, (vmThread_vmRegisters+vmRegisters_r13)(CX)
	MOVQ	R14, (vmThread_vmRegisters+vmRegisters_r14)(CX)
	MOVQ	R15, (vmThread_vmRegisters+vmRegisters_r15)(CX)
	MOVQ	0(SP), R11
	MOVQ	R11, (vmThread_vmRegisters+vmRegisters_ip)(CX)
	LEAQ	8(SP), R11
	MOVQ	R11, (vmThread_vmRegisters+vmRegisters_sp)(CX)
	MOVL	$0, (vmThread_vmRegisters+vmRegisters_full)(CX)
	STMXCSR	(vmThread_vmRegisters+vmRegisters_mxcsr)(CX)
	MOVQ	cpuBlock_stack(GS), SP
	LEAQ	runtime·vmgateon(SB), R11
	JMP	R11	// not by name: the linker would add it to the caller's stack use
	JMP	runtime·nucleusentry(SB)	// never reached: it tells the linker that the gate needs the nucleus

TEXT runtime·vmgateon(SB),NOSPLIT|NOFRAME,$0-0
	XORPS	X15, X15
	MOVQ	AX, BX
	MOVQ	CX, AX
	MOVL	$0, BP
	CALL	runtime·vmCall<ABIInternal>(SB)
	JMP	runtime·vmrestore(SB)

// vmupcall is the target of upcalls. The CPU is on the thread layer's stack and masked.
// All other registers are the interrupted thread's.
TEXT runtime·vmupcall(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	AX, cpuBlock_scratch(GS)
	MOVQ	cpuBlock_thread(GS), AX
	MOVQ	BX, (vmThread_vmRegisters+vmRegisters_bx)(AX)
	MOVQ	CX, (vmThread_vmRegisters+vmRegisters_cx)(AX)
	MOVQ	DX, (vmThread_vmRegisters+vmRegisters_dx)(AX)
	MOVQ	SI, (vmThread_vmRegisters+vmRegisters_si)(AX)
	MOVQ	DI, (vmThread_vmRegisters+vmRegisters_di)(AX)
	MOVQ	BP, (vmThread_vmRegisters+vmRegisters_bp)(AX)
	MOVQ	R8, (vmThread_vmRegisters+vmRegisters_r8)(AX)
	MOVQ	R9, (vmThread_vmRegisters+vmRegisters_r9)(AX)
	MOVQ	R10, (vmThread_vmRegisters+vmRegisters_r10)(AX)
	MOVQ	R11, (vmThread_vmRegisters+vmRegisters_r11)(AX)
	MOVQ	R12, (vmThread_vmRegisters+vmRegisters_r12)(AX)
	MOVQ	R13, (vmThread_vmRegisters+vmRegisters_r13)(AX)
	MOVQ	R14, (vmThread_vmRegisters+vmRegisters_r14)(AX)
	MOVQ	R15, (vmThread_vmRegisters+vmRegisters_r15)(AX)
	MOVQ	cpuBlock_scratch(GS), BX
	MOVQ	BX, (vmThread_vmRegisters+vmRegisters_ax)(AX)
	MOVQ	cpuBlock_ip(GS), BX
	MOVQ	BX, (vmThread_vmRegisters+vmRegisters_ip)(AX)
	MOVQ	cpuBlock_flags(GS), BX
	MOVQ	BX, (vmThread_vmRegisters+vmRegisters_flags)(AX)
	MOVQ	cpuBlock_sp(GS), BX
	MOVQ	BX, (vmThread_vmRegisters+vmRegisters_sp)(AX)
	MOVL	$1, (vmThread_vmRegisters+vmRegisters_full)(AX)
	MOVQ	AX, BX
	MOVQ	$const_userShared, AX
	MOVQ	(vmShared_vmSharedArch+vmSharedArch_xcr0)(AX), AX
	TESTQ	AX, AX
	JEQ	fxsave
	MOVL	$0, DX
	XSAVE64	(vmThread_vmRegisters+vmRegisters_xsave)(BX)
	JMP	saved
fxsave:
	FXSAVE64	(vmThread_vmRegisters+vmRegisters_xsave)(BX)
saved:
	MOVQ	BX, AX
	// Fall into the rest.
	JMP	runtime·vmresumed(SB)

// vmresumed is the same for a thread that was about to be restored: its context is
// already in memory.
TEXT runtime·vmresumed(SB),NOSPLIT|NOFRAME,$0-0
	XORPS	X15, X15
	MOVQ	cpuBlock_thread(GS), AX
	MOVL	$0, BP
	CALL	runtime·vmUpcall<ABIInternal>(SB)
	JMP	runtime·vmrestore(SB)

// vmrestore continues thread AX. Its thread pointer is set.
TEXT runtime·vmrestore(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	AX, cpuBlock_thread(GS)
	CMPL	(vmThread_vmRegisters+vmRegisters_full)(AX), $0
	JNE	full
	MOVQ	(vmThread_vmRegisters+vmRegisters_bx)(AX), BX
	MOVQ	(vmThread_vmRegisters+vmRegisters_dx)(AX), DX
	MOVQ	(vmThread_vmRegisters+vmRegisters_si)(AX), SI
	MOVQ	(vmThread_vmRegisters+vmRegisters_di)(AX), DI
	MOVQ	(vmThread_vmRegisters+vmRegisters_bp)(AX), BP
	MOVQ	(vmThread_vmRegisters+vmRegisters_r8)(AX), R8
	MOVQ	(vmThread_vmRegisters+vmRegisters_r9)(AX), R9
	MOVQ	(vmThread_vmRegisters+vmRegisters_r10)(AX), R10
	MOVQ	(vmThread_vmRegisters+vmRegisters_r12)(AX), R12
	MOVQ	(vmThread_vmRegisters+vmRegisters_r13)(AX), R13
	MOVQ	(vmThread_vmRegisters+vmRegisters_r14)(AX), R14
	MOVQ	(vmThread_vmRegisters+vmRegisters_r15)(AX), R15
	LDMXCSR	(vmThread_vmRegisters+vmRegisters_mxcsr)(AX)
	MOVQ	(vmThread_vmRegisters+vmRegisters_sp)(AX), SP
	MOVQ	(vmThread_vmRegisters+vmRegisters_ip)(AX), CX
	MOVQ	(vmThread_vmRegisters+vmRegisters_ax)(AX), AX
	XORPS	X15, X15
	JMP	runtime·vmresume(SB)
full:
	MOVQ	AX, BX
	MOVQ	$const_userShared, AX
	MOVQ	(vmShared_vmSharedArch+vmSharedArch_xcr0)(AX), AX
	TESTQ	AX, AX
	JEQ	fxrstor
	MOVL	$0, DX
	XRSTOR64	(vmThread_vmRegisters+vmRegisters_xsave)(BX)
	JMP	restored
fxrstor:
	FXRSTOR64	(vmThread_vmRegisters+vmRegisters_xsave)(BX)
restored:
	MOVQ	BX, AX
	MOVQ	cpuBlock_stack(GS), SP
	SUBQ	$8, SP
	MOVQ	(vmThread_vmRegisters+vmRegisters_flags)(AX), BX
	MOVQ	BX, 0(SP)
	MOVQ	(vmThread_vmRegisters+vmRegisters_ip)(AX), BX
	MOVQ	BX, cpuBlock_resumeip(GS)
	MOVQ	(vmThread_vmRegisters+vmRegisters_sp)(AX), BX
	MOVQ	BX, cpuBlock_resumesp(GS)
	MOVQ	(vmThread_vmRegisters+vmRegisters_bx)(AX), BX
	MOVQ	(vmThread_vmRegisters+vmRegisters_cx)(AX), CX
	MOVQ	(vmThread_vmRegisters+vmRegisters_dx)(AX), DX
	MOVQ	(vmThread_vmRegisters+vmRegisters_si)(AX), SI
	MOVQ	(vmThread_vmRegisters+vmRegisters_di)(AX), DI
	MOVQ	(vmThread_vmRegisters+vmRegisters_bp)(AX), BP
	MOVQ	(vmThread_vmRegisters+vmRegisters_r8)(AX), R8
	MOVQ	(vmThread_vmRegisters+vmRegisters_r9)(AX), R9
	MOVQ	(vmThread_vmRegisters+vmRegisters_r10)(AX), R10
	MOVQ	(vmThread_vmRegisters+vmRegisters_r11)(AX), R11
	MOVQ	(vmThread_vmRegisters+vmRegisters_r12)(AX), R12
	MOVQ	(vmThread_vmRegisters+vmRegisters_r13)(AX), R13
	MOVQ	(vmThread_vmRegisters+vmRegisters_r14)(AX), R14
	MOVQ	(vmThread_vmRegisters+vmRegisters_r15)(AX), R15
	MOVQ	(vmThread_vmRegisters+vmRegisters_ax)(AX), AX
	JMP	runtime·vmresumefull(SB)

// Between vmresume and vmresumeend an interrupt loses nothing: the nucleus goes to
// vmresumed, which begins again with the context in memory. That works because these
// instructions change only registers, flags and the CPU's block.
TEXT runtime·vmresume(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$0, cpuBlock_masked(GS)
	CMPL	cpuBlock_pending(GS), $0
	JNE	pending
	JMP	CX
pending:
	MOVL	$1, cpuBlock_masked(GS)
	JMP	runtime·vmpending(SB)

TEXT runtime·vmresumefull(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$0, cpuBlock_masked(GS)
	CMPL	cpuBlock_pending(GS), $0
	JNE	pending
	BYTE $0x9d	// POPFQ
	MOVQ	cpuBlock_resumesp(GS), SP
	JMP	cpuBlock_resumeip(GS)
pending:
	MOVL	$1, cpuBlock_masked(GS)
	JMP	runtime·vmpending(SB)

TEXT runtime·vmresumeend(SB),NOSPLIT|NOFRAME,$0-0
	UNDEF

// vmpending handles the interrupts that came while the CPU was masked.
TEXT runtime·vmpending(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	cpuBlock_stack(GS), SP
	MOVQ	$const_vectorIPI, cpuBlock_vector(GS)	// no exception
	LEAQ	runtime·vmresumed(SB), AX
	JMP	AX	// as in vmgate: no recursion

// vmentry is where a CPU enters CPL 3. DI is its number. It is on the thread layer's
// stack and masked.
TEXT runtime·vmentry(SB),NOSPLIT|NOFRAME,$0-0
	XORPS	X15, X15
	MOVL	$0, BP
	CMPQ	DI, $0
	JNE	other
	CALL	runtime·vmStart<ABIInternal>(SB)
	JMP	runtime·vmrestore(SB)
other:
	CALL	runtime·vmStartOther<ABIInternal>(SB)
	JMP	runtime·vmrestore(SB)

// func vmnucleus(num, a1, a2, a3, a4 uintptr) uintptr
//
// It makes a nucleus call: by SYSCALL, or by an undefined instruction where SYSCALL stays
// at CPL 3 (see notRaised).
TEXT runtime·vmnucleus<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-48
	MOVQ	SI, R10
	MOVQ	DI, DX
	MOVQ	CX, SI
	MOVQ	BX, DI
	MOVQ	$const_userShared, R11
	CMPB	(vmShared_vmSharedArch+vmSharedArch_faultgate)(R11), $0
	JNE	fault
	SYSCALL
	XORPS	X15, X15
	RET
fault:
	JMP	runtime·vmfaultgate(SB)

TEXT runtime·vmfaultgate(SB),NOSPLIT|NOFRAME,$0-0
	UNDEF
	XORPS	X15, X15
	RET

// func vmblock() *cpuBlock
TEXT runtime·vmblock<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	cpuBlock_self(GS), AX
	RET

// func vmwrfsbase(v uintptr)
TEXT runtime·vmwrfsbase<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	WRFSBASEQ	AX
	RET

// func vmcounter() uintptr
//
// Without LFENCE, RDTSC may execute before an earlier load has its value (SDM 2B,
// RDTSC). A CPU that has loaded another CPU's reading would then read an older time.
TEXT runtime·vmcounter<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	LFENCE
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	RET

// func vmscale(v, mult uintptr) uintptr: v * mult >> 32
TEXT runtime·vmscale<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	MULQ	BX
	SHRQ	$32, AX
	SHLQ	$32, DX
	ORQ	DX, AX
	RET

// vmclockgettime is clock_gettime of CLOCK_REALTIME and CLOCK_MONOTONIC, which the
// runtime calls like the vDSO's: DI is the clock, SI points to a struct timespec.
TEXT runtime·vmclockgettime(SB),NOSPLIT|NOFRAME,$0-0
	LFENCE	// as in vmcounter
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	SUBQ	runtime·vmclock+const_clockBase(SB), AX
	MULQ	runtime·vmclock+const_clockMult(SB)
	SHRQ	$32, AX
	SHLQ	$32, DX
	ORQ	DX, AX
	ADDQ	$1, AX	// never 0
	TESTL	DI, DI
	JNE	mono
	ADDQ	runtime·vmclock+const_clockWall(SB), AX
mono:
	MOVL	$0, DX
	MOVQ	$1000000000, CX
	DIVQ	CX
	MOVQ	AX, 0(SI)
	MOVQ	DX, 8(SI)
	MOVL	$0, AX
	RET

// func vmouts(port, p, n uintptr)
TEXT runtime·vmouts<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	MOVL	AX, DX
	MOVQ	BX, SI
	REP; OUTSB
	RET

// func vmin8(port uintptr) uintptr
TEXT runtime·vmin8<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	$0, AX
	INB
	RET

// func vmin16(port uintptr) uintptr
TEXT runtime·vmin16<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	$0, AX
	INW
	RET

// func vmin32(port uintptr) uintptr
TEXT runtime·vmin32<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	$0, AX
	INL
	RET

// func vmout8(port, v uintptr)
TEXT runtime·vmout8<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	BX, AX
	OUTB
	RET

// func vmout16(port, v uintptr)
TEXT runtime·vmout16<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	BX, AX
	OUTW
	RET

// func vmout32(port, v uintptr)
TEXT runtime·vmout32<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	BX, AX
	OUTL
	RET

// func vmcpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT runtime·vmcpuid<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	MOVL	BX, CX
	CPUID
	MOVL	DX, DI
	RET

// func vmrdrand() (v uintptr, ok bool)
TEXT runtime·vmrdrand<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-9
	RDRANDQ	AX
	SETCS	BX
	RET

// func vmxchg(p *uint32, v uint32) uint32
TEXT runtime·vmxchg<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-20
	XCHGL	BX, (AX)
	MOVL	BX, AX
	RET

// func vmxchg64(p *uint64, v uint64) uint64
TEXT runtime·vmxchg64<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	XCHGQ	BX, (AX)
	MOVQ	BX, AX
	RET

// func vmpause()
TEXT runtime·vmpause<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-0
	PAUSE
	RET

// func vmrt0() uintptr
TEXT runtime·vmrt0<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	LEAQ	_rt0_amd64_linux(SB), AX
	RET

// func vmclockaddress() uintptr
TEXT runtime·vmclockaddress<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	LEAQ	runtime·vmclockgettime(SB), AX
	RET
