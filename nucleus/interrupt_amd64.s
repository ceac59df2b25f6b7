//go:build pith

// What happens most: interrupts, the wait for one, and the timer. There are
// hosts that interpret what runs at CPL 0, for half a microsecond an instruction
// (see notRaised), so these ways are short, and in assembly.

#include "go_asm.h"
#include "textflag.h"

#define PUSHQ_AX	BYTE $0x50
#define POPQ_AX		BYTE $0x58

// IRQ's frame: four registers, the vector, and what the CPU has pushed.
#define IRQ_VECTOR	32
#define IRQ_IP		40
#define IRQ_CS		48
#define IRQ_FLAGS	56
#define IRQ_SP		64

// nucleusirq is where interrupts come, with their vector on the stack: it notes
// the interrupt for CPL 3 and diverts the thread that it interrupted, unless the
// thread layer is at work (divert in trap_amd64.go does the same for faults).
TEXT runtime·nucleusirq(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ	$IRQ_VECTOR, SP
	MOVQ	AX, 0(SP)
	MOVQ	CX, 8(SP)
	MOVQ	DX, 16(SP)
	MOVQ	DI, 24(SP)
	MOVQ	$const_nucleusBase, DI
	MOVQ	IRQ_VECTOR(SP), AX
	CMPQ	AX, $const_vectorFlush
	JCC	other
	CMPB	(nucleus_nucleusArch+nucleusArch_apicMSR)(DI), $0
	JEQ	memory
	MOVL	$(const_msrAPIC+const_apicEOI>>4), CX
	MOVL	$0, AX
	MOVL	$0, DX
	WRMSR
	MOVQ	IRQ_VECTOR(SP), AX
	JMP	note
memory:
	MOVQ	$(const_nucleusAPIC+const_apicEOI), CX
	MOVL	$0, (CX)
note:
	MOVQ	SP, CX
	ANDQ	$~0xffff, CX
	MOVQ	cpuState_block(CX), DX
	CMPQ	AX, $const_vectorTimer
	JEQ	timer
	JHI	noted	// from another CPU: it is enough that it came
	MOVQ	nucleus_shared(DI), DI
	LOCK
	BTSQ	AX, vmShared_irqs(DI)
	MOVQ	$const_nucleusBase, DI
	JMP	noted
timer:
	MOVL	$1, cpuBlock_timer(DX)
	CMPQ	(nucleus_nucleusArch+nucleusArch_flushticks)(DI), $0
	JNE	flush
noted:
	TESTB	$3, IRQ_CS(SP)
	JEQ	pending
	CMPL	cpuBlock_masked(DX), $0
	JNE	pending
	MOVQ	AX, cpuBlock_vector(DX)
	MOVQ	$0, cpuBlock_code(DX)
	MOVQ	$0, cpuBlock_address(DX)
	MOVL	$1, cpuBlock_masked(DX)
	MOVQ	IRQ_IP(SP), AX
	CMPQ	AX, nucleus_resume(DI)
	JCS	running
	CMPQ	AX, (nucleus_resume+8)(DI)
	JCC	running
	MOVQ	nucleus_resumed(DI), AX
	JMP	diverted
running:
	MOVQ	AX, cpuBlock_ip(DX)
	MOVQ	IRQ_FLAGS(SP), AX
	MOVQ	AX, cpuBlock_flags(DX)
	MOVQ	IRQ_SP(SP), AX
	MOVQ	AX, cpuBlock_sp(DX)
	MOVQ	nucleus_upcall(DI), AX
diverted:
	MOVQ	AX, IRQ_IP(SP)
	MOVQ	cpuState_userstack(CX), AX
	MOVQ	AX, IRQ_SP(SP)
	MOVQ	$const_flagsUser, IRQ_FLAGS(SP)
	JMP	return
pending:
	MOVL	$1, cpuBlock_pending(DX)
return:
	MOVQ	0(SP), AX
	MOVQ	8(SP), CX
	MOVQ	16(SP), DX
	MOVQ	24(SP), DI
	ADDQ	$IRQ_IP, SP
	IRETQ

	// QEMU's translator (TCG) begins with a TLB of 256 pages, and makes it as
	// large as the guest needs only when the guest flushes it, which Linux
	// does by changing address spaces (accel/tcg/cputlb.c,
	// tlb_mmu_resize_locked). Without this, each flushticks, net/http answers
	// a fifth to a third fewer requests there.
flush:
	RDTSC
	SHLQ	$32, DX
	ORQ	DX, AX
	MOVQ	AX, DX
	SUBQ	cpuState_flushed(CX), DX
	CMPQ	DX, (nucleus_nucleusArch+nucleusArch_flushticks)(DI)
	JCS	flushed
	MOVQ	AX, cpuState_flushed(CX)
	MOVQ	CR3, AX
	MOVQ	AX, CR3
flushed:
	MOVQ	cpuState_block(CX), DX
	MOVL	$const_vectorTimer, AX
	JMP	noted

	// The rest is nucleusTrap's: a vector and an error code of 0.
other:
	MOVQ	8(SP), CX
	MOVQ	16(SP), DX
	MOVQ	24(SP), DI
	MOVQ	AX, 24(SP)
	MOVQ	0(SP), AX
	ADDQ	$24, SP
	MOVQ	$0, 8(SP)
	JMP	runtime·nucleustrap(SB)

// nucleusinvalid is where undefined instructions come. One of them is the gate
// vmfaultgate, behind which a call goes on: number in AX, arguments in DI, SI,
// DX and R10, result in AX; all other registers are lost.
TEXT runtime·nucleusinvalid(SB),NOSPLIT|NOFRAME,$0-0
	PUSHQ_AX
	MOVQ	$const_nucleusBase, AX
	MOVQ	(nucleus_nucleusArch+nucleusArch_gate+8)(AX), AX
	CMPQ	AX, 8(SP)
	POPQ_AX
	JNE	fault
	ADDQ	$const_ud2Size, 0(SP)
	MOVQ	0(SP), R9
	CALL	runtime·nucleuscalled(SB)
	IRETQ
fault:
	SUBQ	$16, SP
	MOVQ	$const_vectorInvalid, 0(SP)
	MOVQ	$0, 8(SP)
	JMP	runtime·nucleustrap(SB)

// nucleuscalled makes a call of the nucleus's that comes from R9.
TEXT runtime·nucleuscalled(SB),NOSPLIT|NOFRAME,$0-0
	CMPQ	AX, $const_callArm
	JNE	2(PC)
	JMP	runtime·nucleusarm(SB)
	CMPQ	AX, $const_callWait
	JNE	2(PC)
	JMP	runtime·nucleuswait(SB)
	// Flags that CPL 3 chose: no string moves backwards, no access to what
	// is CPL 3's (SMAP).
	BYTE $0x6a; BYTE $2	// PUSHQ $2
	BYTE $0x9d	// POPFQ
	SUBQ	$const_spill, SP
	MOVQ	DI, CX
	MOVQ	SI, DI
	MOVQ	DX, SI
	MOVQ	R10, R8
	MOVQ	AX, BX
	MOVQ	SP, AX
	ANDQ	$~0xffff, AX
	CALL	runtime·nucleusCall<ABIInternal>(SB)
	ADDQ	$const_spill, SP
	RET

// nucleusarm is callArm: it sets the timer of this CPU to the TSC value DI, or
// where it takes none to SI of its ticks.
TEXT runtime·nucleusarm(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$const_nucleusBase, R8
	CMPB	(nucleus_nucleusArch+nucleusArch_deadline)(R8), $0
	JEQ	ticks
	MOVL	$const_msrDeadline, CX
	MOVL	DI, AX
	MOVQ	DI, DX
	SHRQ	$32, DX
	WRMSR
	MOVL	$0, AX
	RET
ticks:
	MOVL	$0xffffffff, AX
	CMPQ	SI, AX
	JHI	2(PC)
	MOVQ	SI, AX
	CMPB	(nucleus_nucleusArch+nucleusArch_apicMSR)(R8), $0
	JEQ	memory
	MOVL	$(const_msrAPIC+const_apicCount>>4), CX
	MOVL	$0, DX
	WRMSR
	MOVL	$0, AX
	RET
memory:
	MOVQ	$(const_nucleusAPIC+const_apicCount), CX
	MOVL	AX, (CX)
	MOVL	$0, AX
	RET

// nucleuswait is callWait: it waits for an interrupt, with the timer set if DI
// is not 0. While it does, the CPU touches nothing of CPL 3's.
TEXT runtime·nucleuswait(SB),NOSPLIT|NOFRAME,$0-0
	CMPQ	DI, $0
	JEQ	2(PC)
	CALL	runtime·nucleusarm(SB)
	MOVQ	SP, R8
	ANDQ	$~0xffff, R8
	MOVQ	cpuState_block(R8), R9
	MOVL	$1, AX
	XCHGL	AX, cpuState_idle(R8)
	CMPL	cpuBlock_pending(R9), $0
	JNE	awake
	STI
	HLT
	CLI
awake:
	MOVL	$0, AX
	XCHGL	AX, cpuState_idle(R8)
	CMPL	cpuState_stale(R8), $0
	JNE	stale
	MOVL	$0, AX
	RET
stale:
	MOVL	$0, AX
	XCHGL	AX, cpuState_stale(R8)
	MOVQ	CR3, AX
	MOVQ	AX, CR3
	MOVL	$0, AX
	RET
