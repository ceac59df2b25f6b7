//go:build pith

// The way in: PVH (Xen, docs/misc/pvh.pandoc). The monitor loads the image at
// its link addresses and jumps to the address in the note
// XEN_ELFNOTE_PHYS32_ENTRY: 32-bit protected mode without paging, EBX the
// address of struct hvm_start_info. Until long mode only instructions stand
// here that mean the same in both modes: no REX prefix, no address relative
// to IP.

#include "go_asm.h"
#include "textflag.h"

// The image builder makes of the first instruction the same with an absolute
// address, MOVL $runtime·nucleuslink, DI, of which the assembler has none in code.
TEXT runtime·nucleusentry(SB),NOSPLIT|NOFRAME,$0-0
	LEAQ	runtime·nucleuslink(SB), DI
	JMP	runtime·nucleus32(SB)

#define LINK_TABLES	0
#define LINK_START	8
#define LINK_ROOT	16
#define LINK_FAR	24
#define LINK_GDTR	32
#define LINK_AP		48

// The addresses that the entry needs, and its variables.
DATA runtime·nucleuslink+LINK_TABLES(SB)/8, $runtime·nucleusearly(SB)
DATA runtime·nucleuslink+LINK_START(SB)/8, $runtime·nucleus64(SB)
DATA runtime·nucleuslink+LINK_GDTR(SB)/2, $31
DATA runtime·nucleuslink+(LINK_GDTR+2)(SB)/8, $runtime·nucleusgdt(SB)
DATA runtime·nucleuslink+LINK_AP(SB)/8, $runtime·nucleusap(SB)
GLOBL runtime·nucleuslink(SB), NOPTR, $56

// The descriptors until a CPU has its own.
DATA runtime·nucleusgdt+0(SB)/8, $0
DATA runtime·nucleusgdt+8(SB)/8, $const_gdtCode0
DATA runtime·nucleusgdt+16(SB)/8, $const_gdtData0
DATA runtime·nucleusgdt+24(SB)/8, $0
GLOBL runtime·nucleusgdt(SB), NOPTR|RODATA, $32

// Six early page tables, the boot stack, and a page to align them.
GLOBL runtime·nucleusearly(SB), NOPTR, $(4096*11)

TEXT runtime·nucleus32(SB),NOSPLIT|NOFRAME,$0-0
	// Tables for the first 4 GiB where they are, and for the first 2 GiB
	// again at nucleusAlias, where the nucleus runs.
	MOVL	LINK_TABLES(DI), SI
	ADDL	$4095, SI
	ANDL	$~4095, SI
	MOVL	SI, LINK_ROOT(DI)
	MOVL	SI, AX
	ADDL	$0x1003, AX	// present, writable
	MOVL	AX, 0(SI)
	MOVL	AX, 0xff8(SI)
	ADDL	$0x1000, AX
	MOVL	AX, 0x1000(SI)
	MOVL	AX, 0x1ff0(SI)
	ADDL	$0x1000, AX
	MOVL	AX, 0x1008(SI)
	MOVL	AX, 0x1ff8(SI)
	ADDL	$0x1000, AX
	MOVL	AX, 0x1010(SI)
	ADDL	$0x1000, AX
	MOVL	AX, 0x1018(SI)
	MOVL	SI, DX
	ADDL	$0x2000, DX
	MOVL	$0x83, AX	// present, writable, 2 MiB
	MOVL	$2048, CX
large:
	MOVL	AX, 0(DX)
	MOVL	$0, 4(DX)
	ADDL	$0x200000, AX
	ADDL	$8, DX
	SUBL	$1, CX
	JNE	large

	MOVL	$const_cr4PAE, AX
	MOVQ	AX, CR4
	MOVL	SI, AX
	MOVQ	AX, CR3
	MOVL	$const_msrEFER, CX
	RDMSR
	ORL	$const_eferBoot, AX
	WRMSR
	MOVL	$const_cr0Boot, AX
	MOVQ	AX, CR0
	BYTE $0x0f; BYTE $0x01; BYTE $0x57; BYTE $LINK_GDTR	// LGDT LINK_GDTR(DI)
	MOVL	LINK_START(DI), AX
	MOVL	AX, LINK_FAR(DI)
	MOVL	$const_selCode0, (LINK_FAR+4)(DI)
	BYTE $0xff; BYTE $0x6f; BYTE $LINK_FAR	// far jump to what LINK_FAR(DI) holds

// 64-bit mode: on to nucleusAlias and the boot stack.
TEXT runtime·nucleus64(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$const_selData0, AX
	MOVW	AX, DS
	MOVW	AX, ES
	MOVW	AX, SS
	MOVL	DI, DI
	MOVL	BX, BX
	MOVQ	$const_nucleusAlias, CX
	MOVL	LINK_ROOT(DI), DX
	LEAQ	(10*4096-const_spill)(DX)(CX*1), SP
	LEAQ	runtime·nucleushigh(SB), DX
	ORQ	CX, DX
	JMP	DX

TEXT runtime·nucleushigh(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ	BX, AX
	LEAQ	LINK_AP(DI), BX
	CALL	runtime·nucleusStart<ABIInternal>(SB)
	// AX: the first CPU's state; BX: the root of its page tables.
	MOVQ	BX, CR3
	JMP	runtime·nucleusrun(SB)

// nucleusap is where the trampoline brings another CPU.
TEXT runtime·nucleusap(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$const_selData0, AX
	MOVW	AX, DS
	MOVW	AX, ES
	MOVW	AX, SS
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
