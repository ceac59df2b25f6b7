package process

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// hostname, when sethostname changed it.
var hostname atomic.Pointer[string]

// Hostname is the name of the instance, uname's nodename.
func Hostname() string {
	if s := hostname.Load(); s != nil {
		return *s
	}
	if s := platform.Config().Hostname; s != "" {
		return s
	}
	return "localhost"
}

func sysUname(a *call.Args) (uintptr, linux.Errno) {
	u, errno := call.At[linux.Utsname](a.A0)
	if errno != 0 {
		return 0, errno
	}
	*u = linux.Utsname{}
	copy(u.Sysname[:], linux.Sysname)
	copy(u.Nodename[:64], Hostname())
	copy(u.Release[:], linux.Release)
	copy(u.Version[:], linux.Version)
	copy(u.Machine[:], linux.Machine)
	copy(u.Domainname[:], "(none)")
	return 0, 0
}

func sysSethostname(a *call.Args) (uintptr, linux.Errno) {
	if !cred.Has(linux.CAP_SYS_ADMIN) {
		return 0, linux.EPERM
	}
	if a.A1 > 64 {
		return 0, linux.EINVAL
	}
	b, errno := call.Bytes(a.A0, a.A1)
	if errno != 0 {
		return 0, errno
	}
	s := string(b)
	hostname.Store(&s)
	return 0, 0
}

func sysSysinfo(a *call.Args) (uintptr, linux.Errno) {
	s, errno := call.At[linux.Sysinfo](a.A0)
	if errno != 0 {
		return 0, errno
	}
	total := platform.Config().Memory
	_, resident := platform.Memory()
	*s = linux.Sysinfo{
		Uptime:   platform.Nanotime() / 1e9,
		Totalram: total,
		Freeram:  total - min(resident, total),
		Procs:    1,
		Unit:     1,
	}
	return 0, 0
}

// maxRandom is the most that one getrandom(2) returns.
const maxRandom = 1<<25 - 1

func sysGetrandom(a *call.Args) (uintptr, linux.Errno) {
	const conflict = linux.GRND_RANDOM | linux.GRND_INSECURE
	flags := uint32(a.A2)
	if flags&^(linux.GRND_NONBLOCK|conflict) != 0 || flags&conflict == conflict {
		return 0, linux.EINVAL
	}
	b, errno := call.Bytes(a.A0, min(a.A1, maxRandom))
	if errno != 0 {
		return 0, errno
	}
	platform.Random(b)
	return uintptr(len(b)), 0
}

// sysGetrusage is getrusage(2). All CPU time counts as the program's: there is
// no kernel that time could be spent in.
func sysGetrusage(a *call.Args) (uintptr, linux.Errno) {
	who := int32(a.A0)
	if who < linux.RUSAGE_CHILDREN || who > linux.RUSAGE_THREAD {
		return 0, linux.EINVAL
	}
	r, errno := call.At[linux.Rusage](a.A1)
	if errno != 0 {
		return 0, errno
	}
	*r = linux.Rusage{}
	if who != linux.RUSAGE_CHILDREN {
		r.Utime = linux.TimevalOf(platform.CPUTime())
		_, resident := platform.Memory()
		r.Maxrss = int64(resident / 1024)
	}
	return 0, 0
}

// rlimits are the limits of resources. The descriptors' is the table's size
// and the memory's the instance's; what is set is remembered, as programs set
// limits to what they need at most.
var rlimits struct {
	sync.Mutex
	of [linux.RLIM_NLIMITS]linux.Rlimit
}

func init() {
	unlimited := linux.Rlimit{Cur: linux.RLIM_INFINITY, Max: linux.RLIM_INFINITY}
	for i := range rlimits.of {
		rlimits.of[i] = unlimited
	}
	for resource, v := range map[int]linux.Rlimit{
		linux.RLIMIT_STACK:   {Cur: 8 << 20, Max: linux.RLIM_INFINITY},
		linux.RLIMIT_CORE:    {},
		linux.RLIMIT_NPROC:   {Cur: 1, Max: 1},
		linux.RLIMIT_NOFILE:  {Cur: file.MaxDescriptors, Max: file.MaxDescriptors},
		linux.RLIMIT_MEMLOCK: {Cur: 8 << 20, Max: 8 << 20},
		linux.RLIMIT_NICE:    {},
		linux.RLIMIT_RTPRIO:  {},
	} {
		rlimits.of[resource] = v
	}
}

// rlimit is prlimit(2): it stores the old limit at old and sets the one at new.
func rlimit(resource, new, old uintptr) (uintptr, linux.Errno) {
	if resource >= linux.RLIM_NLIMITS {
		return 0, linux.EINVAL
	}
	rlimits.Lock()
	defer rlimits.Unlock()
	was := rlimits.of[resource]
	if new != 0 {
		v, errno := call.At[linux.Rlimit](new)
		switch {
		case errno != 0:
			return 0, errno
		case v.Cur > v.Max:
			return 0, linux.EINVAL
		case resource == linux.RLIMIT_NOFILE && v.Max > file.MaxDescriptors,
			v.Max > was.Max && !cred.Has(linux.CAP_SYS_RESOURCE):
			return 0, linux.EPERM
		}
		rlimits.of[resource] = *v
	}
	if old != 0 {
		v, errno := call.At[linux.Rlimit](old)
		if errno != 0 {
			return 0, errno
		}
		*v = was
	}
	return 0, 0
}

// cpuMask is the set of the instance's CPUs, of which there are at most 64.
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

// sysSchedSetaffinity is sched_setaffinity(2). Goroutines run on all CPUs: a
// mask that leaves one out is refused, not ignored.
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

// sysGetcpu is getcpu(2). Which CPU it is only the host knows.
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
