package process

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// hostname is the name that sethostname(2) set, or nil.
var hostname atomic.Pointer[string]

// Hostname returns the name of the instance: the nodename of uname(2).
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

// maxRandom is the most that one getrandom(2) returns, in bytes.
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

// sysGetrusage is getrusage(2). All CPU time is user time: there is no kernel.
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
