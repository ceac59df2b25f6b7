package process

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// cpuMask returns the set of the instance's CPUs, at most 64.
func cpuMask() uint64 { return ^uint64(0) >> (64 - platform.Config().CPUs) }

func sysSchedGetaffinity(a *call.Args) (uintptr, linux.Errno) {
	const size = unsafe.Sizeof(uint64(0))
	if a.A1 < size || a.A1%size != 0 {
		return 0, linux.EINVAL
	}
	if !isSelf(a.A0) {
		return 0, linux.ESRCH
	}
	mask, errno := call.At[uint64](a.A2)
	if errno != 0 {
		return 0, errno
	}
	*mask = cpuMask()
	return size, 0
}

// sysSchedSetaffinity is sched_setaffinity(2). Goroutines run on all CPUs, so a mask
// without one of them is refused, not ignored.
func sysSchedSetaffinity(a *call.Args) (uintptr, linux.Errno) {
	if !isSelf(a.A0) {
		return 0, linux.ESRCH
	}
	b, errno := call.Bytes(a.A2, min(a.A1, 8))
	if errno != 0 {
		return 0, errno
	}
	var mask uint64
	for i, v := range b {
		mask |= uint64(v) << (8 * i)
	}
	switch mask & cpuMask() {
	case 0:
		return 0, linux.EINVAL
	case cpuMask():
		return 0, 0
	}
	return 0, linux.EPERM
}

func sysSchedGetparam(a *call.Args) (uintptr, linux.Errno) {
	if !isSelf(a.A0) {
		return 0, linux.ESRCH
	}
	priority, errno := call.At[int32](a.A1)
	if errno == 0 {
		*priority = 0
	}
	return 0, errno
}

// schedPriority returns a bound of the priorities of the realtime policies; the
// other policies have priority 0 only.
func schedPriority(a *call.Args, bound uintptr) (uintptr, linux.Errno) {
	switch a.A0 {
	case linux.SCHED_FIFO, linux.SCHED_RR:
		return bound, 0
	case linux.SCHED_OTHER, linux.SCHED_BATCH, linux.SCHED_IDLE:
		return 0, 0
	}
	return 0, linux.EINVAL
}

// sysGetcpu is getcpu(2). It returns 0: only the host knows the CPU.
func sysGetcpu(a *call.Args) (uintptr, linux.Errno) {
	for _, addr := range [...]uintptr{a.A0, a.A1} {
		if addr == 0 {
			continue
		}
		n, errno := call.At[uint32](addr)
		if errno != 0 {
			return 0, errno
		}
		*n = 0
	}
	return 0, 0
}
