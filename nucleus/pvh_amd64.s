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
// address, MOVL $runtime·nucleuslink, DI, of which the assembler has none in code,
// and has the second load the image's end.
TEXT runtime·nucleusentry(SB),NOSPLIT|NOFRAME,$0-0
	LEAQ	runtime·nucleuslink(SB), DI
	MOVL	$0x7fffffff, SI
	JMP	runtime·nucleuscheck(SB)

// SAY writes a character: without a stack and an address, text is code.
#define SAY(c)	MOVB $(c), AX; OUTB

// nucleuscheck ends the machine if its memory does not hold the image, of which
// only what runs here need be there, or its CPU has no 64-bit mode.
TEXT runtime·nucleuscheck(SB),NOSPLIT|NOFRAME,$0-0
	MOVL	$const_portText, DX
	INB
	CMPB	AX, $const_portThere
	JEQ	memory
	MOVL	$const_portSerial, DX
memory:
	// hvm_start_info: the memory map's address and length at 40 and 48; its
	// entries: address, size, kind.
	MOVL	40(BX), BP
	MOVL	48(BX), CX
entry:
	CMPL	CX, $0
	JEQ	little
	CMPL	16(BP), $const_memoryUsable
	JNE	next
	CMPL	4(BP), $0
	JNE	next
	CMPL	0(BP), DI
	JHI	next
	CMPL	12(BP), $0
	JNE	cpu	// 4 GiB and more
	MOVL	0(BP), AX
	ADDL	8(BP), AX
	JCS	cpu
	CMPL	AX, SI
	JCC	cpu
next:
	ADDL	$24, BP
	SUBL	$1, CX
	JMP	entry
cpu:
	MOVL	BX, SI
	MOVL	DX, BP
	MOVL	$0x80000000, AX
	CPUID
	CMPL	AX, $0x80000001
	JCS	old
	MOVL	$0x80000001, AX
	CPUID
	ANDL	$(const_cpuidLM|const_cpuidNX), DX
	CMPL	DX, $(const_cpuidLM|const_cpuidNX)
	JNE	old
	MOVL	SI, BX
	JMP	runtime·nucleus32(SB)
little:
	SAY(0x70); SAY(0x69); SAY(0x74); SAY(0x68); SAY(0x3a); SAY(0x20)	// pith: 
	SAY(0x74); SAY(0x6f); SAY(0x6f); SAY(0x20); SAY(0x6c); SAY(0x69)	// too li
	SAY(0x74); SAY(0x74); SAY(0x6c); SAY(0x65); SAY(0x20); SAY(0x6d)	// ttle m
	SAY(0x65); SAY(0x6d); SAY(0x6f); SAY(0x72); SAY(0x79); SAY(0x20)	// emory 
	SAY(0x66); SAY(0x6f); SAY(0x72); SAY(0x20); SAY(0x74); SAY(0x68)	// for th
	SAY(0x65); SAY(0x20); SAY(0x69); SAY(0x6d); SAY(0x61); SAY(0x67)	// e imag
	SAY(0x65); SAY(0x0a)	// e
	JMP	end
old:
	MOVL	BP, DX
	SAY(0x70); SAY(0x69); SAY(0x74); SAY(0x68); SAY(0x3a); SAY(0x20)	// pith: 
	SAY(0x74); SAY(0x68); SAY(0x65); SAY(0x20); SAY(0x43); SAY(0x50)	// the CP
	SAY(0x55); SAY(0x20); SAY(0x68); SAY(0x61); SAY(0x73); SAY(0x20)	// U has 
	SAY(0x6e); SAY(0x6f); SAY(0x20); SAY(0x36); SAY(0x34); SAY(0x2d)	// no 64-
	SAY(0x62); SAY(0x69); SAY(0x74); SAY(0x20); SAY(0x6d); SAY(0x6f)	// bit mo
	SAY(0x64); SAY(0x65); SAY(0x2c); SAY(0x20); SAY(0x6f); SAY(0x72)	// de, or
	SAY(0x20); SAY(0x6e); SAY(0x6f); SAY(0x20); SAY(0x4e); SAY(0x58)	//  no NX
	SAY(0x0a)	// 
end:
	MOVL	$const_portControl, DX
	INB
	CMPB	AX, $const_portThere
	JNE	exit
	SAY(0x65); SAY(0x78); SAY(0x69); SAY(0x74); SAY(0x20); SAY(0x31)	// exit 1
	SAY(0x32); SAY(0x35); SAY(0x0a)	// 25
exit:
	MOVL	$const_portExit, DX
	MOVL	$const_exitMachine, AX
	OUTL
	MOVL	$const_portReset, DX
	MOVB	$0xfe, AX
	OUTB
halt:
	CLI
	HLT
	JMP	halt

#define LINK_TABLES	0
#define LINK_START	8
#define LINK_ROOT	16
#define LINK_FAR	24
#define LINK_GDTR	32

// The addresses that the entry needs, and its variables.
DATA runtime·nucleuslink+LINK_TABLES(SB)/8, $runtime·nucleusearly(SB)
DATA runtime·nucleuslink+LINK_START(SB)/8, $runtime·nucleus64(SB)
DATA runtime·nucleuslink+LINK_GDTR(SB)/2, $31
DATA runtime·nucleuslink+(LINK_GDTR+2)(SB)/8, $runtime·nucleusgdt(SB)
GLOBL runtime·nucleuslink(SB), NOPTR, $48

// Six early page tables, the boot stack, and a page to align them.
GLOBL runtime·nucleusearly(SB), NOPTR, $(4096*11)

TEXT runtime·nucleus32(SB),NOSPLIT|NOFRAME,$0-0
	// Tables for the memory below 4 GiB where it is, and for the first 2 GiB
	// again at nucleusAlias, where the nucleus runs. They are zero yet.
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
	// As many pages of 2 MiB as the memory below 4 GiB has: CX.
	MOVL	40(BX), BP
	MOVL	48(BX), DX
	MOVL	$0, CX
range:
	CMPL	DX, $0
	JEQ	ranged
	CMPL	16(BP), $const_memoryUsable
	JNE	other
	CMPL	4(BP), $0
	JNE	other
	CMPL	12(BP), $0
	JNE	whole
	MOVL	0(BP), AX
	ADDL	8(BP), AX
	JCS	whole
	ADDL	$0x1fffff, AX
	JCS	whole
	SHRL	$21, AX
	CMPL	AX, CX
	JLS	other
	MOVL	AX, CX
other:
	ADDL	$24, BP
	SUBL	$1, DX
	JMP	range
whole:
	MOVL	$2048, CX
ranged:
	MOVL	SI, DX
	ADDL	$0x2000, DX
	MOVL	$0x83, AX	// present, writable, 2 MiB
large:
	MOVL	AX, 0(DX)
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
	MOVL	$0, AX
	MOVW	AX, FS	// else IRETQ would null them, and their bases perhaps
	MOVW	AX, GS
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
	CALL	runtime·nucleusPVH<ABIInternal>(SB)
	// AX: the first CPU's state; BX: the root of its page tables.
	MOVQ	BX, CR3
	JMP	runtime·nucleusrun(SB)
