//go:build pith

package runtime

import "unsafe"

// The nucleus is the part of an image that runs at CPL 0 in a virtual machine. It has
// the page tables, exceptions and interrupts, the timer, the start of other CPUs, and
// the end. Everything else runs at CPL 3: the thread layer (vm/) and the library OS,
// drivers included.
//
// Its functions are nosplit. They touch no vector register, because those are the
// interrupted program's, and no memory but the nucleus's. They keep addresses as
// numbers, so that the compiler tracks no pointers. nucleus_test.go holds this.

// nucleus is the state, at nucleusBase.
type nucleus struct {
	starting uintptr    // *cpuState of the CPU that is being started
	entry    uintptr    // where CPUs enter CPL 3
	upcall   uintptr    // where CPL 3 handles upcalls
	resumed  uintptr    // the same for a thread whose context is in memory already
	resume   [2]uintptr // the instructions that restore a context: first, and behind the last

	lock  uint32 // of the page tables and the frames
	root  uintptr
	runs  [maxRuns]pageRun // usable memory
	nruns uintptr

	image  [2]uintptr // first address, and behind the last
	shared uintptr    // *vmShared, in nucleusDirect

	free     uintptr // bitmap in nucleusDirect, one bit a frame: those that were given back
	reported uintptr // bitmap of the frames reported to the host
	words    uintptr // length of each bitmap in words
	next     uintptr // the word in which the next search begins
	last     uintptr // the last word that ever had a bit set
	nback    uintptr // number of frames in the bitmap
	nfree    uintptr // number of free frames: nback and those that were never in use
	zeroed   bool    // frames that were never in use are zero

	nucleusArch

	tables bootMemory // where new tables come from once the VM runs
	drops  dropped
	ncpus  uintptr
	cpus   [maxCPUs]uintptr // *cpuState
}

const (
	maxRuns = 16
	maxCPUs = 64 // boot.MaxCPUs
)

// It must fit into its page.
const _ = uint(pageSize4 - unsafe.Sizeof(nucleus{}))

// pageRun is the page frames from start to end, both guest-physical addresses. Those
// from fresh to top were never in use, and are in no bitmap.
type pageRun struct{ start, end, fresh, top uintptr }

// cpuBlock is what a CPU shares with CPL 3, in userCPUs. At CPL 3 GS holds its address.
// The nucleus writes it and trusts nothing in it.
type cpuBlock struct {
	self    uintptr
	thread  uintptr // *vmThread
	masked  uint32  // no upcall: the CPU is in the thread layer
	pending uint32  // an interrupt came while masked was set
	number  uint32
	timer   uint32  // the timer has fired
	stack   uintptr // top of the thread layer's stack
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

// vmShared is the page at userShared: what CPL 3 learns about the VM. The boot
// parameters follow in the next pages, read-only.
type vmShared struct {
	irqs     [2]uint64  // atomic bitmap, by vector: the interrupts that came
	khz      uintptr    // frequency of the counter that the clock reads; 0: not known
	memory   uintptr    // bytes
	cpus     uintptr    // number of CPUs; the boot parameters may ask for fewer
	line     uintptr    // length of the boot parameters in bytes
	defaults [2]uintptr // the image's own boot parameters: address, length
	rsdp     uintptr
	image    uintptr // address of the ELF header

	vmSharedArch
}

//go:nosplit
func nuc() *nucleus { return (*nucleus)(unsafe.Pointer(uintptr(nucleusBase))) }

//go:nosplit
func load64(p uintptr) uintptr { return *(*uintptr)(unsafe.Pointer(p)) }

//go:nosplit
func store64(p, v uintptr) { *(*uintptr)(unsafe.Pointer(p)) = v }

//go:nosplit
func load8(p uintptr) uint8 { return *(*uint8)(unsafe.Pointer(p)) }

//go:nosplit
func (n *nucleus) sharedPage() *vmShared { return (*vmShared)(unsafe.Pointer(n.shared)) }

//go:nosplit
func (n *nucleus) cpu(i uintptr) *cpuState {
	return (*cpuState)(unsafe.Pointer(load64(uintptr(unsafe.Pointer(&n.cpus)) + i*8)))
}

//go:nosplit
func nucleusload32(p *uint32) uint32 { return *(*uint32)(unsafe.Pointer(p)) }
