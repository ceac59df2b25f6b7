//go:build pith

package runtime

// Address space, from the top:
//
//	nucleusAlias  the image again, for the nucleus: it runs there
//	nucleusBase   the nucleus's own memory: its state, CPUs
//	nucleusDirect all usable memory at its physical address, for page tables
//	  below 2^47: CPL 3
//	userShared    clock and interrupts, one page
//	userCPUs      a block and a stack for each CPU
//	...           what the program maps
//	the image     at its link address, which is also its physical one
//	0 to 64 KiB   never mapped, but for the trampoline of starting CPUs
const (
	nucleusAlias  = 0xffffffff80000000
	nucleusBase   = 0xffffc00000000000
	nucleusCPUs   = nucleusBase + 0x1000000 // a region of cpuStride for each CPU
	nucleusAPIC   = nucleusBase + 0x800000
	nucleusPower  = nucleusBase + 0x900000
	nucleusDirect = 0xffff800000000000

	userShared = 0x7fffe0000000
	userCPUs   = 0x7ffff0000000
	userFirst  = 0x10000
	userLast   = 0x7fffd0000000 // of what the program may map

	cpuStride = 0x10000
	maxCPUs   = 64
	pageSize4 = 4096
	pageSize2 = 2 << 20

	lowMemory    = 1 << 20 // below is the firmware's memory, and the trampoline
	earlyMemory  = 4 << 30 // below, the early tables map guest-physical addresses as they are
	mostPhysical = 1 << 46
)

// Registers and descriptors (SDM 3A §2.5, §3.4, §3.5).
const (
	cr0Boot  = 0x80050033 // PG AM WP NE ET MP PE
	cr4PAE   = 1 << 5
	cr4PGE   = 1 << 7
	cr4FXSR  = 1 << 9
	cr4XMM   = 1 << 10
	cr4UMIP  = 1 << 11
	cr4FSGS  = 1 << 16
	cr4XSAVE = 1 << 18
	cr4SMEP  = 1 << 20
	cr4SMAP  = 1 << 21

	msrEFER   = 0xc0000080
	msrSTAR   = 0xc0000081
	msrLSTAR  = 0xc0000082
	msrSFMASK = 0xc0000084
	msrFSBase = 0xc0000100
	msrGSBase = 0xc0000101
	msrKGS    = 0xc0000102
	eferBoot  = 0x901 // NXE LME SCE

	gdtCode0 = 0x00209b0000000000
	gdtData0 = 0x0000930000000000
	gdtData3 = 0x0000f30000000000
	gdtCode3 = 0x0020fb0000000000
	selCode0 = 0x08
	selData0 = 0x10
	selData3 = 0x2b // SYSRET takes this one 8 and code 16 after STAR's
	selCode3 = 0x33
	selTSS   = 0x38

	flagsUser = 0x202                                       // IF
	flagsMask = 1<<18 | 1<<14 | 1<<10 | 1<<9 | 1<<8 | 3<<12 // AC NT DF IF TF IOPL
)

// Offsets in the page of the trampoline, which is at trampoline.
const (
	trampoline     = 0x8000
	trampolineRoot = 0xfe0
	trampolineFar  = 0xfe8
	trampolineGDTR = 0xff0
)

// nucleusArch is the part of nucleus that is of this architecture.
type nucleusArch struct {
	gate [2]uintptr // where CPL 3 calls from, by SYSCALL and by a fault

	powerPort, powerByte, powerValue uintptr // see setPower; 0: not known

	tscKHz     uintptr // 0: not known
	flushticks uintptr // how often a TLB is flushed for no other reason; 0: never
	deadline   bool    // the timer takes a TSC value, else ticks of its own

	apicMSR bool // registers of the local APIC are MSRs (x2APIC)
	cr4     uintptr
	xcr0    uintptr // what XSAVE saves; 0: FXSAVE
}

// vmSharedArch is the part of vmShared that is of this architecture.
type vmSharedArch struct {
	xcr0      uintptr // what XSAVE saves; 0: use FXSAVE
	fsgsbase  bool    // WRFSBASE works at CPL 3
	faultgate bool    // the nucleus is called by vmfaultgate
}

// cpuState is a CPU's own, at the start of its region in nucleusCPUs. Behind
// it, up to a page, is its TSS. The stack ends 4 KiB before the region does.
type cpuState struct {
	number    uintptr
	stack     uintptr // its top
	usersp    uintptr // of the thread that called
	userstack uintptr // of CPL 3's thread layer
	block     uintptr // *cpuBlock, in nucleusDirect
	id        uint32  // of its APIC
	running   uint32  // atomic: it is in use
	stale     uint32  // atomic: its TLB is to be flushed
	idle      uint32  // atomic: it waits, and touches nothing of CPL 3's
	gdt       [9]uint64
	gdtr      [10]byte
	idtr      [10]byte
	flushed   uintptr // TSC value when its TLB was, each flushticks
}

const (
	cpuStack    = 8 // offsets in cpuState, for assembly
	cpuUserSP   = 16
	cpuTSS      = 0x400 // offsets in the region
	cpuStackTop = 0x8000
	cpuStackLow = 0x4000
	cpuFaultTop = 0xc000 // stack of double faults and NMIs
	cpuFaultLow = 0xb000
	tssBitmap   = 104
	spill       = 64 // above a call, where Go functions may keep their arguments
	tssSize     = tssBitmap + 0xd00/8 + 1
)

// What nucleusaddress knows.
const (
	addressStubs = iota
	addressSyscall
	addressTrampoline
	addressUpcall
	addressResumed
	addressResume
	addressResumeEnd
	addressGate
	addressFaultGate
	addressEntry
	addressAP
	addressGDT
)

// Interrupt vectors.
const (
	vectorDevice   = 0x30 // to vectorTimer
	vectorTimer    = 0x70
	vectorIPI      = 0x71
	vectorFlush    = 0x72
	vectorSpurious = 0x7f
	vectors        = 0x80
)
