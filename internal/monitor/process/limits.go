package process

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Limits of an image, beside those that are 0.
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

// limit is a resource limit, soft and hard.
type limit struct {
	resource int
	value    unix.Rlimit
}

// resourceLimits are those of an image (getrlimit(2)). RLIMIT_AS is not among
// them: a Go runtime reserves address space that it never uses.
func resourceLimits(memory uint64, ownUser bool) ([]limit, error) {
	threads, err := threadLimit(ownUser)
	if err != nil {
		return nil, err
	}
	most := map[int]uint64{
		unix.RLIMIT_CORE:     0,
		unix.RLIMIT_MEMLOCK:  0,
		unix.RLIMIT_MSGQUEUE: 0,
		unix.RLIMIT_NICE:     0,
		unix.RLIMIT_RTPRIO:   0,
		unix.RLIMIT_NOFILE:   maxDescriptors,
		unix.RLIMIT_STACK:    maxStack,
		unix.RLIMIT_NPROC:    threads,
	}
	if memory != 0 {
		most[unix.RLIMIT_DATA] = memoryLimit(memory)
	}
	var limits []limit
	for resource, n := range most {
		var old unix.Rlimit
		if err := unix.Prlimit(0, resource, nil, &old); err != nil {
			return nil, fmt.Errorf("resource limit %d: %w", resource, err)
		}
		n = min(n, old.Max)
		limits = append(limits, limit{resource, unix.Rlimit{Cur: n, Max: n}})
	}
	return limits, nil
}

// threadLimit is RLIMIT_NPROC. Linux counts threads by user: in a user
// namespace of its own, from 5.14 on, only the image's. Elsewhere the limit
// leaves room for the user's other processes, now and later.
func threadLimit(ownUser bool) (uint64, error) {
	if ownUser && kernelAtLeast(5, 14) {
		return maxThreads, nil
	}
	// proc_loadavg(5): the fourth field is running threads/all threads.
	line, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	var load [3]float64
	var running, all uint64
	if _, err := fmt.Sscanf(string(line), "%f %f %f %d/%d", &load[0], &load[1], &load[2], &running, &all); err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %w", err)
	}
	return 2*all + 16*maxThreads, nil
}

// kernelAtLeast says whether this is Linux major.minor or later.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var haveMajor, haveMinor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &haveMajor, &haveMinor); err != nil {
		return false
	}
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}
