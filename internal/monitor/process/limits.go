package process

import (
	"os"

	"github.com/pith-os/pith/internal/monitor/jail"

	"golang.org/x/sys/unix"
)

// Limits of an image, in addition to the limits of every jail.
const (
	// maxThreads is far more than a Go runtime starts for boot.MaxCPUs, because the
	// program's system calls hold no threads.
	maxThreads = 256
	maxStack   = 8 << 20 // the first thread's; Linux's default

	// memorySlack is the part of RLIMIT_DATA above --memory, which is the soft limit of
	// the garbage collector. Linux counts all private writable memory, even if it is
	// unused. An empty Go program has tables of 40 to 45 MiB and uses two of them.
	memorySlack = 64 << 20
)

// memoryLimit returns RLIMIT_DATA for an instance with the given memory in bytes. An extra
// eighth is for holes in the heap, which the runtime extends by 4 MiB at a time.
func memoryLimit(memory uint64) uint64 { return memory + memory/8 + memorySlack }

// descriptorLimit returns RLIMIT_NOFILE of an image. One number above it is left, for the
// image's own descriptor: execveat(2) may name that number, and no descriptor that the image
// gets later can have it.
func descriptorLimit() (uint64, error) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return min(maxDescriptors, own.Cur-1), nil
}

// resourceLimits returns the limits of an image (getrlimit(2)). It sets no RLIMIT_AS, because
// a Go runtime reserves address space that it never uses.
func resourceLimits(req *request, descriptors uint64) ([]jail.Limit, error) {
	threads, err := req.ThreadLimit(maxThreads)
	if err != nil {
		return nil, err
	}
	most := map[int]uint64{
		unix.RLIMIT_NOFILE: descriptors,
		unix.RLIMIT_STACK:  maxStack,
		unix.RLIMIT_NPROC:  threads,
	}
	if memory := req.Boot.Memory; memory != 0 {
		most[unix.RLIMIT_DATA] = memoryLimit(memory)
	}
	return jail.Limits(most)
}
