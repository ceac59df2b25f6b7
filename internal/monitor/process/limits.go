package process

import (
	"github.com/pith-os/pith/internal/monitor/jail"

	"golang.org/x/sys/unix"
)

// Limits of an image, beside those of every jail.
const (
	// maxThreads is far above what a Go runtime starts for boot.MaxCPUs,
	// as no system call of the program holds a thread.
	maxThreads = 256
	maxStack   = 8 << 20 // the first thread's; Linux's default

	// memorySlack is what RLIMIT_DATA leaves above --memory, the soft limit
	// of the garbage collector. Linux counts private memory from when it
	// becomes writable, touched or not: 40 to 45 MiB for the tables of an
	// empty Go program, of which it touches two.
	memorySlack = 64 << 20
)

// memoryLimit is RLIMIT_DATA for an instance of the given size. One eighth is
// for holes in the heap, which the runtime extends by 4 MiB at a time.
func memoryLimit(memory uint64) uint64 { return memory + memory/8 + memorySlack }

// resourceLimits are those of an image (getrlimit(2)). RLIMIT_AS is not among
// them: a Go runtime reserves address space that it never uses.
func resourceLimits(req *request) ([]jail.Limit, error) {
	threads, err := req.ThreadLimit(maxThreads)
	if err != nil {
		return nil, err
	}
	most := map[int]uint64{
		unix.RLIMIT_NOFILE: maxDescriptors,
		unix.RLIMIT_STACK:  maxStack,
		unix.RLIMIT_NPROC:  threads,
	}
	if memory := req.Boot.Memory; memory != 0 {
		most[unix.RLIMIT_DATA] = memoryLimit(memory)
	}
	return jail.Limits(most)
}
