package process

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// securebits, locked: user 0 is no exception to capabilities, and none become
// ambient (capabilities(7), "The securebits flags").
const securebits = 1<<0 | 1<<1 | // SECBIT_NOROOT, SECBIT_NOROOT_LOCKED
	1<<5 | // SECBIT_KEEP_CAPS_LOCKED
	1<<6 | 1<<7 // SECBIT_NO_CAP_AMBIENT_RAISE and its lock

// dropPrivileges leaves this thread without a capability and without a way to
// one, as user uid when that is not 0. The system calls are made for this
// thread alone; package unix would make them for all.
func dropPrivileges(uid, gid int) error {
	if err := dropBoundingSet(); err != nil {
		return err
	}
	// Without CAP_SETPCAP there was no capability to lose.
	err := unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EPERM) {
		return fmt.Errorf("set secure bits: %w", err)
	}
	if uid != 0 {
		if err := changeUser(uid, gid); err != nil {
			return fmt.Errorf("change to user %d, group %d: %w", uid, gid, err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&hdr, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	// Writable memory of the image never becomes executable, not by its
	// program headers either. Linux has it since 6.3; the filter refuses
	// PROT_EXEC everywhere.
	err = unix.Prctl(unix.PR_SET_MDWE, unix.PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("deny writable and executable memory: %w", err)
	}
	return nil
}

// dropBoundingSet empties the bounding set. Where that is not permitted,
// no_new_privs still keeps execveat from giving capabilities.
func dropBoundingSet() error {
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel has no more
		}
		if err == nil && has == 1 {
			err = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		}
		if errors.Is(err, unix.EPERM) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("drop capability %d from the bounding set: %w", c, err)
		}
	}
}

func changeUser(uid, gid int) error {
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS, 0, 0, 0},
		{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
		{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	return nil
}

// Limits of an image, beside those that are 0.
const (
	// maxThreads is far above what a Go runtime starts for boot.MaxCPUs,
	// as no system call of the program holds a thread.
	maxThreads = 256
	maxStack   = 8 << 20 // the first thread's; Linux's default

	// memorySlack is what RLIMIT_DATA leaves above --memory (the soft limit
	// of the garbage collector): the runtime's tables for the heap, and
	// holes in it. See docs/security.md.
	memorySlack = 32 << 20
)

// memoryLimit is RLIMIT_DATA for an instance of the given size.
func memoryLimit(memory uint64) uint64 { return memory + memory/8 + memorySlack }

// limitResources sets the hard limits (getrlimit(2)). RLIMIT_AS is not among
// them: a Go runtime reserves address space that it may never use.
// RLIMIT_DATA counts private memory from when it becomes writable, which the
// runtime does 4 MiB at a time.
func limitResources(memory uint64, ownUser bool) error {
	limits := map[int]uint64{
		unix.RLIMIT_CORE:     0,
		unix.RLIMIT_MEMLOCK:  0,
		unix.RLIMIT_MSGQUEUE: 0,
		unix.RLIMIT_NICE:     0,
		unix.RLIMIT_RTPRIO:   0,
		unix.RLIMIT_NOFILE:   maxDescriptors,
		unix.RLIMIT_STACK:    maxStack,
	}
	if memory != 0 {
		limits[unix.RLIMIT_DATA] = memoryLimit(memory)
	}
	threads, err := threadLimit(ownUser)
	if err != nil {
		return err
	}
	limits[unix.RLIMIT_NPROC] = threads
	for which, n := range limits {
		var old unix.Rlimit
		if err := unix.Prlimit(0, which, nil, &old); err != nil {
			return fmt.Errorf("resource limit %d: %w", which, err)
		}
		n = min(n, old.Max)
		if err := unix.Prlimit(0, which, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
			return fmt.Errorf("resource limit %d: %w", which, err)
		}
	}
	return nil
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
