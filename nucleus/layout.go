//go:build pith

package runtime

import "unsafe"

// The nucleus is what of an image runs at CPL 0 in a virtual machine: page
// tables, exceptions and interrupts, timer, other CPUs, the end. Everything
// else, threads and drivers too, is at CPL 3 (vm_*.go and package
// pith/libos/...). Its functions are nosplit, touch no vector register (they
// are the interrupted program's) and no memory but their own; they use
// addresses as numbers, so that the compiler sees no pointer to be tracked.

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
	shared uintptr    // *vmShared, in nucleusDirect

	free   uintptr // bitmap of the frames given back, nucleusDirect; one bit a frame
	told   uintptr // of those among them that the host has back
	words  uintptr // length of each in words
	next   uintptr // the word to look for a frame in next
	last   uintptr // the last word that ever had one
	nback  uintptr // how many are in the bitmap
	nfree  uintptr // those and the ones that never were in use
	zeroed bool    // the latter are zero

	nucleusArch

	tables bootMemory // of new tables, once the machine runs
	drops  dropped
	ncpus  uintptr
	cpus   [maxCPUs]uintptr // *cpuState
}

const maxRuns = 16

// It must fit into its page.
const _ = uint(pageSize4 - unsafe.Sizeof(nucleus{}))

// pageRun are the frames from start to end, both physical addresses. Those
// from fresh to top never were in use, and are in no bitmap.
type pageRun struct{ start, end, fresh, top uintptr }

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
	khz      uintptr    // of the counter that the clock reads; 0: not known
	memory   uintptr    // bytes
	line     uintptr    // its length
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
