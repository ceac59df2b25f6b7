//go:build pith

// Exceptions, interrupts and calls: into the nucleus and back.

#include "go_asm.h"
#include "textflag.h"

// The stubs of the interrupt table, stubSize bytes each, push what the CPU has
// not (an error code of 0) and their vector. In bytes: the assembler would
// count the pushes.
#define STUB(v) \
	BYTE $0x6a; BYTE $0; \
	BYTE $0x6a; BYTE $(v); \
	JMP runtime·nucleustrap(SB)
#define STUBE(v) \
	BYTE $0x90; BYTE $0x90; \
	BYTE $0x6a; BYTE $(v); \
	JMP runtime·nucleustrap(SB)
#define STUB8(v) \
	STUB(v+0); STUB(v+1); STUB(v+2); STUB(v+3); \
	STUB(v+4); STUB(v+5); STUB(v+6); STUB(v+7)
// Undefined instructions, and interrupts, have ways of their own.
#define STUBU \
	BYTE $0x90; BYTE $0x90; BYTE $0x90; BYTE $0x90; \
	JMP runtime·nucleusinvalid(SB)
#define STUBI(v) \
	BYTE $0x90; BYTE $0x90; \
	BYTE $0x6a; BYTE $(v); \
	JMP runtime·nucleusirq(SB)
#define STUBI8(v) \
	STUBI(v+0); STUBI(v+1); STUBI(v+2); STUBI(v+3); \
	STUBI(v+4); STUBI(v+5); STUBI(v+6); STUBI(v+7)

TEXT runtime·nucleusstubs(SB),NOSPLIT|NOFRAME,$0-0
	PCALIGN	$2048	// more than all of them: see gates
	STUB(0); STUB(1); STUB(2); STUB(3); STUB(4); STUB(5); STUBU; STUB(7)
	STUBE(8); STUB(9); STUBE(10); STUBE(11); STUBE(12); STUBE(13); STUBE(14); STUB(15)
	STUB(16); STUBE(17); STUB(18); STUB(19); STUB(20); STUBE(21); STUB(22); STUB(23)
	STUB8(24); STUB8(32); STUB8(40)
	STUBI8(48); STUBI8(56); STUBI8(64); STUBI8(72); STUBI8(80)
	STUBI8(88); STUBI8(96); STUBI8(104); STUBI8(112); STUBI8(120)

// nucleustrap saves the registers below the stub's two words (trapFrame) and
// calls nucleusTrap(frame, cpu). It may change the frame, and so where to go on.
TEXT runtime·nucleustrap(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ	$120, SP
	MOVQ	AX, 0(SP)
	MOVQ	BX, 8(SP)
	MOVQ	CX, 16(SP)
	MOVQ	DX, 24(SP)
	MOVQ	SI, 32(SP)
	MOVQ	DI, 40(SP)
	MOVQ	BP, 48(SP)
	MOVQ	R8, 56(SP)
	MOVQ	R9, 64(SP)
	MOVQ	R10, 72(SP)
	MOVQ	R11, 80(SP)
	MOVQ	R12, 88(SP)
	MOVQ	R13, 96(SP)
	MOVQ	R14, 104(SP)
	MOVQ	R15, 112(SP)
	// Flags that the interrupted code chose: no string moves backwards, no
	// access to what is CPL 3's (SMAP).
	BYTE $0x6a; BYTE $2	// PUSHQ $2
	BYTE $0x9d	// POPFQ
	MOVQ	SP, AX
	MOVQ	SP, BX
	ANDQ	$~0xffff, BX
	SUBQ	$const_spill, SP
	CALL	runtime·nucleusTrap<ABIInternal>(SB)
	ADDQ	$const_spill, SP
	MOVQ	0(SP), AX
	MOVQ	8(SP), BX
	MOVQ	16(SP), CX
	MOVQ	24(SP), DX
	MOVQ	32(SP), SI
	MOVQ	40(SP), DI
	MOVQ	48(SP), BP
	MOVQ	56(SP), R8
	MOVQ	64(SP), R9
	MOVQ	72(SP), R10
	MOVQ	80(SP), R11
	MOVQ	88(SP), R12
	MOVQ	96(SP), R13
	MOVQ	104(SP), R14
	MOVQ	112(SP), R15
	ADDQ	$136, SP
	IRETQ

// nucleussyscall is where SYSCALL comes: number in AX, arguments in DI, SI, DX
// and R10, result in AX; all other registers are lost but SP.
TEXT runtime·nucleussyscall(SB),NOSPLIT|NOFRAME,$0-0
	SWAPGS
	MOVQ	SP, const_cpuUserSP(GS)
	MOVQ	const_cpuStack(GS), SP
	SUBQ	$16, SP
	MOVQ	CX, 0(SP)
	MOVQ	R11, 8(SP)
	MOVQ	CX, R9	// where the call came from
	// The calls that nucleuscalled makes itself are not those of a SYSCALL
	// of the program's: nucleusCall ends it.
	MOVQ	$const_nucleusBase, R8
	SUBQ	(nucleus_nucleusArch+nucleusArch_gate)(R8), CX
	CMPQ	CX, $64
	JLS	2(PC)
	MOVL	$const_callExit, AX
	CALL	runtime·nucleuscalled(SB)
	MOVQ	0(SP), CX
	MOVQ	8(SP), R11
	MOVQ	const_cpuUserSP(GS), SP
	SWAPGS
	BYTE $0x48; SYSRET

// func nucleuscpuid(leaf, sub uint32) (a, b, c, d uint32)
TEXT runtime·nucleuscpuid<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	MOVL	BX, CX
	CPUID
	MOVL	DX, DI
	RET

// func nucleusrdmsr(msr uintptr) uintptr
TEXT runtime·nucleusrdmsr<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, CX
	RDMSR
	SHLQ	$32, DX
	ORQ	DX, AX
	RET

// func nucleuswrmsr(msr, v uintptr)
TEXT runtime·nucleuswrmsr<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, CX
	MOVL	BX, AX
	MOVQ	BX, DX
	SHRQ	$32, DX
	WRMSR
	RET

// func nucleuscr3() uintptr
TEXT runtime·nucleuscr3<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	CR3, AX
	RET

// func nucleuscr2() uintptr
TEXT runtime·nucleuscr2<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	CR2, AX
	RET

// func nucleussetcr4(v uintptr)
TEXT runtime·nucleussetcr4<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	MOVQ	AX, CR4
	RET

// func nucleusxsetbv(v uintptr)
TEXT runtime·nucleusxsetbv<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	MOVL	$0, CX
	MOVL	$0, DX
	XSETBV
	RET

// func nucleusflushall()
TEXT runtime·nucleusflushall<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	CR3, AX
	MOVQ	AX, CR3
	RET

// func nucleusinvlpg(addr uintptr)
TEXT runtime·nucleusinvlpg<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	INVLPG	(AX)
	RET

// func nucleusfill(addr, n, v uintptr): n bytes of words v
TEXT runtime·nucleusfill<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	MOVQ	AX, DI
	MOVQ	CX, AX
	MOVQ	BX, CX
	SHRQ	$3, CX
	REP; STOSQ
	RET

// func nucleussame(addr, words, v uintptr) uintptr: how many of the first words are v
TEXT runtime·nucleussame<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-32
	MOVQ	AX, DI
	MOVQ	CX, AX
	MOVQ	BX, CX
	CMPQ	AX, AX
	REP; SCASQ
	JEQ	2(PC)
	ADDQ	$1, CX	// the one that is not
	SUBQ	CX, BX
	MOVQ	BX, AX
	RET

// func nucleusrow(addr, words, v, step uintptr): words v, v+step and so on
TEXT runtime·nucleusrow<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-32
	JMP	enough
eight:
	MOVQ	CX, 0(AX)
	ADDQ	DI, CX
	MOVQ	CX, 8(AX)
	ADDQ	DI, CX
	MOVQ	CX, 16(AX)
	ADDQ	DI, CX
	MOVQ	CX, 24(AX)
	ADDQ	DI, CX
	MOVQ	CX, 32(AX)
	ADDQ	DI, CX
	MOVQ	CX, 40(AX)
	ADDQ	DI, CX
	MOVQ	CX, 48(AX)
	ADDQ	DI, CX
	MOVQ	CX, 56(AX)
	ADDQ	DI, CX
	ADDQ	$64, AX
	SUBQ	$8, BX
enough:
	CMPQ	BX, $8
	JCC	eight
	JMP	any
one:
	MOVQ	CX, (AX)
	ADDQ	DI, CX
	ADDQ	$8, AX
	SUBQ	$1, BX
any:
	CMPQ	BX, $0
	JNE	one
	RET

// func nucleuscopy(to, from, n uintptr)
TEXT runtime·nucleuscopy<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-24
	MOVQ	AX, DI
	MOVQ	BX, SI
	MOVQ	CX, AX
	SHRQ	$3, CX
	REP; MOVSQ
	MOVQ	AX, CX
	ANDQ	$7, CX
	REP; MOVSB
	RET

// func nucleusrelax()
TEXT runtime·nucleusrelax<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-0
	PAUSE
	RET

// func nucleusxchg(p uintptr, v uint32) uint32
TEXT runtime·nucleusxchg<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-20
	XCHGL	BX, (AX)
	MOVL	BX, AX
	RET

// func nucleusrdtsc() uintptr
TEXT runtime·nucleusrdtsc<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-8
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	RET

// func nucleusout(port, v uintptr)
TEXT runtime·nucleusout<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	BX, AX
	OUTB
	RET

// func nucleusoutl(port, v uintptr)
TEXT runtime·nucleusoutl<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	BX, AX
	OUTL
	RET

// func nucleusoutw(port, v uintptr)
TEXT runtime·nucleusoutw<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	BX, AX
	OUTW
	RET

// func nucleusin(port uintptr) uintptr
TEXT runtime·nucleusin<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	MOVL	AX, DX
	MOVL	$0, AX
	INB
	RET

// func nucleusload(cpu *cpuState, tss uintptr): descriptor tables and task.
TEXT runtime·nucleusload<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	LGDT	cpuState_gdtr(AX)
	LIDT	cpuState_idtr(AX)
	LTR	BX
	RET

// func nucleustriple(): an exception without a handler resets the machine.
TEXT runtime·nucleustriple<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ	$16, SP
	MOVQ	$0, 0(SP)
	MOVQ	$0, 8(SP)
	LIDT	(SP)
	UNDEF

// func nucleuslinked(which uintptr) uintptr: the link address of code.
TEXT runtime·nucleuslinked<ABIInternal>(SB),NOSPLIT|NOFRAME,$0-16
	LEAQ	runtime·nucleusaddresses(SB), CX
	MOVQ	(CX)(AX*8), AX
	RET

DATA runtime·nucleusaddresses+(const_addressStubs*8)(SB)/8, $runtime·nucleusstubs(SB)
DATA runtime·nucleusaddresses+(const_addressSyscall*8)(SB)/8, $runtime·nucleussyscall(SB)
DATA runtime·nucleusaddresses+(const_addressTrampoline*8)(SB)/8, $runtime·nucleustrampoline(SB)
DATA runtime·nucleusaddresses+(const_addressUpcall*8)(SB)/8, $runtime·vmupcall(SB)
DATA runtime·nucleusaddresses+(const_addressResumed*8)(SB)/8, $runtime·vmresumed(SB)
DATA runtime·nucleusaddresses+(const_addressResume*8)(SB)/8, $runtime·vmresume(SB)
DATA runtime·nucleusaddresses+(const_addressResumeEnd*8)(SB)/8, $runtime·vmresumeend(SB)
DATA runtime·nucleusaddresses+(const_addressGate*8)(SB)/8, $runtime·vmnucleus<ABIInternal>(SB)
DATA runtime·nucleusaddresses+(const_addressFaultGate*8)(SB)/8, $runtime·vmfaultgate(SB)
DATA runtime·nucleusaddresses+(const_addressEntry*8)(SB)/8, $runtime·vmentry(SB)
DATA runtime·nucleusaddresses+(const_addressAP*8)(SB)/8, $runtime·nucleusap(SB)
DATA runtime·nucleusaddresses+(const_addressGDT*8)(SB)/8, $runtime·nucleusgdt(SB)
GLOBL runtime·nucleusaddresses(SB), NOPTR|RODATA, $(12*8)
