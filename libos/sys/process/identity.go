package process

import (
	"unsafe"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

// putIDs stores ids for getresuid(2) and getresgid(2).
func putIDs(a *call.Args, ids cred.IDs) (uintptr, linux.Errno) {
	for i, addr := range [...]uintptr{a.A0, a.A1, a.A2} {
		id, errno := call.At[uint32](addr)
		if errno != 0 {
			return 0, errno
		}
		*id = [...]uint32{ids.Real, ids.Effective, ids.Saved}[i]
	}
	return 0, 0
}

// getgroups is getgroups(2). Size 0 asks for the number of groups.
func getgroups(a *call.Args) (uintptr, linux.Errno) {
	groups, size := cred.Current().Groups, int32(a.A0)
	if size < 0 || size != 0 && int(size) < len(groups) {
		return 0, linux.EINVAL
	}
	if size == 0 || len(groups) == 0 {
		return uintptr(len(groups)), 0
	}
	list, errno := groupList(a.A1, len(groups))
	return uintptr(copy(list, groups)), errno
}

func setgroups(a *call.Args) (uintptr, linux.Errno) {
	n := int32(a.A0)
	switch {
	case !cred.Has(linux.CAP_SETGID):
		return 0, linux.EPERM
	case n < 0 || n > linux.NGROUPS_MAX:
		return 0, linux.EINVAL
	}
	list, errno := groupList(a.A1, int(n))
	if errno != 0 {
		return 0, errno
	}
	return 0, cred.SetGroups(list)
}

// groupList returns the caller's n groups at addr.
func groupList(addr uintptr, n int) ([]uint32, linux.Errno) {
	if n == 0 {
		return nil, 0
	}
	b, errno := call.Bytes(addr, uintptr(n)*4)
	if errno != 0 {
		return nil, errno
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&b[0])), n), 0
}

// capHeader checks the header of capget(2). It returns the number of 32-bit capability
// words and the process id. It replaces an unknown version with the one to use.
func capHeader(addr uintptr) (words int, pid int32, errno linux.Errno) {
	h, errno := call.At[linux.CapHeader](addr)
	if errno != 0 {
		return 0, 0, errno
	}
	switch h.Version {
	case linux.LINUX_CAPABILITY_VERSION_1:
		words = 1
	case linux.LINUX_CAPABILITY_VERSION_2, linux.LINUX_CAPABILITY_VERSION_3:
		words = 2
	default:
		h.Version = linux.LINUX_CAPABILITY_VERSION_3
		return 0, 0, linux.EINVAL
	}
	return words, h.PID, 0
}

func sysCapget(a *call.Args) (uintptr, linux.Errno) {
	words, pid, errno := capHeader(a.A0)
	switch {
	case a.A1 == 0 && errno == linux.EINVAL: // to learn the version
		return 0, 0
	case errno != 0:
		return 0, errno
	case pid < 0:
		return 0, linux.EINVAL
	case !isSelf(uintptr(pid)):
		return 0, linux.ESRCH
	case a.A1 == 0:
		return 0, 0
	}
	data, errno := capData(a.A1, words)
	if errno != 0 {
		return 0, errno
	}
	c := cred.Current()
	for i := range data {
		word := func(caps cred.Caps) uint32 { return uint32(caps >> (32 * i)) }
		data[i] = linux.CapData{Effective: word(c.Effective), Permitted: word(c.Permitted), Inheritable: word(c.Inheritable)}
	}
	return 0, 0
}

func sysCapset(a *call.Args) (uintptr, linux.Errno) {
	words, pid, errno := capHeader(a.A0)
	switch {
	case errno != 0:
		return 0, errno
	case !isSelf(uintptr(pid)):
		return 0, linux.EPERM
	}
	data, errno := capData(a.A1, words)
	if errno != 0 {
		return 0, errno
	}
	var effective, permitted, inheritable cred.Caps
	for i, d := range data {
		effective |= cred.Caps(d.Effective) << (32 * i)
		permitted |= cred.Caps(d.Permitted) << (32 * i)
		inheritable |= cred.Caps(d.Inheritable) << (32 * i)
	}
	return 0, cred.SetCaps(effective&cred.All, permitted&cred.All, inheritable&cred.All)
}

// capData returns the caller's capability words at addr.
func capData(addr uintptr, words int) ([]linux.CapData, linux.Errno) {
	data, errno := call.At[linux.CapData](addr)
	if errno != 0 {
		return nil, errno
	}
	return unsafe.Slice(data, words), 0
}

// capabilityPrctl does the operations of prctl(2) on credentials.
func capabilityPrctl(op int, arg uintptr) (uintptr, linux.Errno) {
	c := cred.Current()
	is := func(yes bool) uintptr {
		if yes {
			return 1
		}
		return 0
	}
	switch op {
	case linux.PR_GET_KEEPCAPS:
		return is(c.KeepCaps), 0
	case linux.PR_SET_KEEPCAPS:
		if arg > 1 {
			return 0, linux.EINVAL
		}
		return 0, cred.Change(func(c *cred.Credentials) linux.Errno {
			c.KeepCaps = arg == 1
			return 0
		})
	case linux.PR_CAPBSET_DROP:
		return 0, cred.DropBounding(arg)
	}
	if arg > linux.CAP_LAST_CAP {
		return 0, linux.EINVAL
	}
	return is(c.Bounding&cred.Of(int(arg)) != 0), 0 // PR_CAPBSET_READ
}
