package process

import (
	"sync"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

// rlimits are the resource limits. RLIMIT_NOFILE is the size of the descriptor table.
// The others have no effect: they only keep what the program sets.
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

// rlimit is prlimit(2). It stores the old limit at address old and sets the one at
// address new. A zero address is none.
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
