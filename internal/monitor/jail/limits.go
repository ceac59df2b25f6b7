package jail

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limit is a resource limit, soft and hard (getrlimit(2)).
type Limit struct {
	resource int
	value    unix.Rlimit
}

// Limits returns the resource limits of a jail. most holds limits by resource number. If
// the monitor's own limit is lower, that one applies. Core dumps, locked memory, message
// queues and priorities get 0, because no jail needs them.
func Limits(most map[int]uint64) ([]Limit, error) {
	limits := make([]Limit, 0, len(most)+5)
	add := func(resource int, n uint64) error {
		var old unix.Rlimit
		if err := unix.Prlimit(0, resource, nil, &old); err != nil {
			return fmt.Errorf("resource limit %d: %w", resource, err)
		}
		n = min(n, old.Max)
		limits = append(limits, Limit{resource, unix.Rlimit{Cur: n, Max: n}})
		return nil
	}
	for _, resource := range []int{unix.RLIMIT_CORE, unix.RLIMIT_MEMLOCK, unix.RLIMIT_MSGQUEUE, unix.RLIMIT_NICE, unix.RLIMIT_RTPRIO} {
		if err := add(resource, 0); err != nil {
			return nil, err
		}
	}
	for resource, n := range most {
		if err := add(resource, n); err != nil {
			return nil, err
		}
	}
	return limits, nil
}

// setLimits sets limits for this process. It does not allocate memory.
func setLimits(limits []Limit) unix.Errno {
	for i := range limits {
		_, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(limits[i].resource),
			uintptr(unsafe.Pointer(&limits[i].value)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
	}
	return 0
}

// ThreadLimit returns RLIMIT_NPROC for a jail of up to n threads. Linux counts threads
// by user. Since Linux 5.14 it counts only the jail's threads if the jail has its own
// user namespace. Otherwise the limit leaves room for the user's other processes,
// including later ones.
func (r Request) ThreadLimit(n uint64) (uint64, error) {
	if r.OwnUser && kernelAtLeast(5, 14) {
		return n, nil
	}
	// The fourth field is "running threads/all threads" (proc_loadavg(5)).
	line, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	var load [3]float64
	var running, all uint64
	if _, err := fmt.Sscanf(string(line), "%f %f %f %d/%d", &load[0], &load[1], &load[2], &running, &all); err != nil {
		return 0, fmt.Errorf("/proc/loadavg: %w", err)
	}
	return 2*all + 16*n, nil
}

// kernelAtLeast reports whether the host runs Linux major.minor or later.
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
