//go:build pith

package runtime

import "unsafe"

// The nucleus is what of an image runs at CPL 0 in a virtual machine: page
// tables, exceptions and interrupts, timer, other CPUs, the end. Everything
// else, threads and drivers too, is at CPL 3 (vm_*.go and package
// pith/libos/...). Its functions are nosplit, touch no vector register (they
// are the interrupted program's) and no memory but their own; they use
// addresses as numbers, so that the compiler sees no pointer to be tracked.
//
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

// nucleus is the state, at nucleusBase.
type nucleus struct {
	starting uintptr    // cpuState of a CPU that begins
	entry    uintptr    // where CPUs enter CPL 3
	upcall   uintptr    // where interrupted threads continue, and
	resumed  uintptr    // the same when their context is in memory already
	resume   [2]uintptr // the instructions that restore a context, from and to

	lock  uint32 // of the page tables and the frames
	root  uintptr
	runs  [maxRuns]pageRun // usable memory
	nruns uintptr

	image  [2]uintptr // from and to
	gate   [2]uintptr // where CPL 3 calls from, by SYSCALL and by a fault
	shared uintptr    // *vmShared, in nucleusDirect

	free   uintptr // bitmap of the frames given back, nucleusDirect; one bit a frame
	told   uintptr // of those among them that the host has back
	words  uintptr // length of each in words
	next   uintptr // the word to look for a frame in next
	last   uintptr // the last word that ever had one
	nback  uintptr // how many are in the bitmap
	nfree  uintptr // those and the ones that never were in use
	zeroed bool    // the latter are zero

	powerPort, powerByte, powerValue uintptr // see setPower; 0: not known

	tscKHz     uintptr // 0: not known
	flushticks uintptr // how often a TLB is flushed for no other reason; 0: never
	deadline   bool    // the timer takes a TSC value, else ticks of its own

	apicMSR bool // registers of the local APIC are MSRs (x2APIC)
	cr4     uintptr
	xcr0    uintptr    // what XSAVE saves; 0: FXSAVE
	tables  bootMemory // of new tables, once the machine runs
	drops   dropped
	ncpus   uintptr
	cpus    [maxCPUs]uintptr // *cpuState
}

const maxRuns = 16

// It must fit into its page.
const _ = uint(pageSize4 - unsafe.Sizeof(nucleus{}))

// pageRun are the frames from start to end, both physical addresses. Those
// from fresh to top never were in use, and are in no bitmap.
type pageRun struct{ start, end, fresh, top uintptr }

// cpuState is a CPU's own, at the start of its region in nucleusCPUs. Behind
// it, up to a page, is its TSS. The stack ends 4 KiB before the region does.
type cpuState struct {
	number    uintptr
	stack     uintptr // its top
	usersp    uintptr // of the thread that called
	userstack uintptr // of CPL 3's thread layer
	block     uintptr // *cpuBlock, in nucleusDirect
	apic      uint32
	running   uint32 // atomic: it is in use
	stale     uint32 // atomic: its TLB is to be flushed
	idle      uint32 // atomic: it waits, and touches nothing of CPL 3's
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

// cpuBlock is what a CPU shares with CPL 3, at its place in userCPUs; GS holds
// its address at CPL 3. The nucleus writes it and trusts nothing in it.
type cpuBlock struct {
	self    uintptr
	thread  uintptr // *vmThread
	masked  uint32  // no upcall: CPL 3 is in its thread layer
	pending uint32  // an interrupt came meanwhile
	number  uint32
	timer   uint32  // the timer has fired
	stack   uintptr // top of the thread layer's
	scratch uintptr

	resumeip, resumesp uintptr // of the thread that is being restored

	// Of the last upcall.
	vector, code, address uintptr
	ip, flags, sp         uintptr
}

const (
	userStride   = 0x40000
	userStackTop = 0x10000
	userStackLow = 0x2000
)

// vmShared is the page at userShared: what CPL 3 learns of the machine. The
// line of boot parameters follows in the next pages, to be read only.
type vmShared struct {
	irqs     [2]uint64  // atomic, by vector: those that came
	tscKHz   uintptr    // 0: not known
	memory   uintptr    // bytes
	line     uintptr    // its length
	defaults [2]uintptr // the image's own boot parameters: address, length
	rsdp     uintptr
	image    uintptr // address of the ELF header

	xcr0     uintptr // what XSAVE saves; 0: use FXSAVE
	fsgsbase bool    // WRFSBASE works at CPL 3

	faultgate bool // the nucleus is called by vmfaultgate
}

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

//go:nosplit
func nuc() *nucleus { return (*nucleus)(unsafe.Pointer(uintptr(nucleusBase))) }

//go:nosplit
func load64(p uintptr) uintptr { return *(*uintptr)(unsafe.Pointer(p)) }

//go:nosplit
func store64(p, v uintptr) { *(*uintptr)(unsafe.Pointer(p)) = v }

//go:nosplit
func load32(p uintptr) uint32 { return *(*uint32)(unsafe.Pointer(p)) }

//go:nosplit
func load8(p uintptr) uint8 { return *(*uint8)(unsafe.Pointer(p)) }

func nucleuscpuid(leaf, sub uint32) (a, b, c, d uint32)
func nucleusrdmsr(msr uintptr) uintptr
func nucleuswrmsr(msr, v uintptr)
func nucleuscr2() uintptr
func nucleuscr3() uintptr
func nucleussetcr4(v uintptr)
func nucleusxsetbv(v uintptr)
func nucleusflushall()
func nucleusinvlpg(addr uintptr)
func nucleusfill(addr, n, v uintptr)
func nucleussame(addr, words, v uintptr) uintptr
func nucleusrow(addr, words, v, step uintptr)
func nucleuscopy(to, from, n uintptr)
func nucleusrelax()
func nucleusxchg(p uintptr, v uint32) uint32
func nucleusrdtsc() uintptr
func nucleusout(port, v uintptr)
func nucleusoutl(port, v uintptr)
func nucleusoutw(port, v uintptr)
func nucleusin(port uintptr) uintptr
func nucleusload(c *cpuState, tss uintptr)
func nucleustriple()
func nucleusaddress(which uintptr) uintptr
