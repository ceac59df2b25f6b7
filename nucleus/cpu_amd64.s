//go:build pith

// Where CPUs go from their entry: the first one's is in pvh_amd64.s, the others'
// is the trampoline.

#include "go_asm.h"
#include "textflag.h"

// The descriptors until a CPU has its own.
DATA runtime·nucleusgdt+0(SB)/8, $0
DATA runtime·nucleusgdt+8(SB)/8, $const_gdtCode0
DATA runtime·nucleusgdt+16(SB)/8, $const_gdtData0
DATA runtime·nucleusgdt+24(SB)/8, $0
GLOBL runtime·nucleusgdt(SB), NOPTR|RODATA, $32

// nucleusap is where the trampoline brings another CPU.
TEXT runtime·nucleusap(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$const_selData0, AX
	MOVW	AX, DS
	MOVW	AX, ES
	MOVW	AX, SS
	MOVL	$0, AX
	MOVW	AX, FS
	MOVW	AX, GS
	MOVQ	$const_nucleusAlias, CX
	LEAQ	runtime·nucleusaphigh(SB), DX
	ORQ	CX, DX
	JMP	DX

TEXT runtime·nucleusaphigh(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	$const_nucleusBase, AX
	MOVQ	nucleus_starting(AX), AX
	JMP	runtime·nucleusrun(SB)

// nucleusrun takes the CPU whose state is AX to its own stack, and then to
// CPL 3: at nucleus.start, DI its number and R8 what nucleusStart has for it.
TEXT runtime·nucleusrun(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	cpuState_stack(AX), SP
	CALL	runtime·nucleusCPU<ABIInternal>(SB)
	// AX: the state again.
	MOVQ	cpuState_number(AX), DI
	MOVQ	cpuState_userstack(AX), SI
	MOVQ	$const_nucleusBase, CX
	MOVQ	nucleus_entry(CX), DX
	SUBQ	$40, SP
	MOVQ	DX, 0(SP)
	MOVQ	$const_selCode3, 8(SP)
	MOVQ	$const_flagsUser, 16(SP)
	MOVQ	SI, 24(SP)
	MOVQ	$const_selData3, 32(SP)
	MOVL	$const_selData3, AX
	MOVW	AX, DS
	MOVW	AX, ES
	MOVL	$0, AX
	IRETQ

// Another CPU begins in real mode (SDM 3A §9.4) at a page below 1 MiB, to which
// nucleusStart has copied this: 16-bit code, and so in bytes. The words that
// it reads stand at the page's end.
TEXT runtime·nucleustrampoline(SB),NOSPLIT|NOFRAME,$0-0
	BYTE $0xfa	// CLI
	BYTE $0x8c; BYTE $0xc8	// MOV CS, AX
	BYTE $0x8e; BYTE $0xd8	// MOV AX, DS
	BYTE $0x66; BYTE $0x0f; BYTE $0x01; BYTE $0x16; WORD $const_trampolineGDTR	// LGDT
	BYTE $0x66; BYTE $0xa1; WORD $const_trampolineRoot	// MOV root, EAX
	BYTE $0x0f; BYTE $0x22; BYTE $0xd8	// MOV EAX, CR3
	BYTE $0x66; BYTE $0xb8; LONG $const_cr4PAE	// MOV $, EAX
	BYTE $0x0f; BYTE $0x22; BYTE $0xe0	// MOV EAX, CR4
	BYTE $0x66; BYTE $0xb9; LONG $const_msrEFER	// MOV $, ECX
	BYTE $0x0f; BYTE $0x32	// RDMSR
	BYTE $0x66; BYTE $0x0d; LONG $const_eferBoot	// OR $, EAX
	BYTE $0x0f; BYTE $0x30	// WRMSR
	BYTE $0x66; BYTE $0xb8; LONG $const_cr0Boot	// MOV $, EAX
	BYTE $0x0f; BYTE $0x22; BYTE $0xc0	// MOV EAX, CR0
	BYTE $0x66; BYTE $0xff; BYTE $0x2e; WORD $const_trampolineFar	// far jump
