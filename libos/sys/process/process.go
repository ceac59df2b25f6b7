package process

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// The program is the only process: pid 1, leader of its group and session, without
// a parent.
const (
	pid  = 1
	ppid = 0
)

// isSelf reports whether a process id argument means the program: by its own id, or
// by that of a thread.
func isSelf(arg uintptr) bool {
	id := int32(arg)
	return id == 0 || id == pid || id > 0 && platform.RaiseThread(int(id), 0) == 0
}

// ofProcess answers a call that asks something of the process with id a.A0.
func ofProcess(a *call.Args, answer uintptr) (uintptr, linux.Errno) {
	if !isSelf(a.A0) {
		return 0, linux.ESRCH
	}
	return answer, 0
}

func noChild(*call.Args) (uintptr, linux.Errno) { return 0, linux.ECHILD }

// exit ends the instance, for exit(2) too: only the runtime ends threads.
func exit(a *call.Args) (uintptr, linux.Errno) {
	platform.Exit(int(a.A0 & 0xff))
	return 0, 0
}

// Attributes that prctl(2) sets and gets. They have no effect.
var (
	processName atomic.Pointer[[16]byte]
	attributes  = [...]struct {
		get, set int
		byValue  bool // get returns the value; else it stores an int
		max      uintptr
		value    atomic.Uintptr
	}{
		{get: linux.PR_GET_PDEATHSIG, set: linux.PR_SET_PDEATHSIG, max: linux.NSIG},
		{get: linux.PR_GET_DUMPABLE, set: linux.PR_SET_DUMPABLE, byValue: true, max: 1},
		{get: linux.PR_GET_TIMERSLACK, set: linux.PR_SET_TIMERSLACK, byValue: true, max: ^uintptr(0)},
		{get: linux.PR_GET_CHILD_SUBREAPER, set: linux.PR_SET_CHILD_SUBREAPER, max: ^uintptr(0)},
		{get: linux.PR_GET_NO_NEW_PRIVS, set: linux.PR_SET_NO_NEW_PRIVS, byValue: true, max: 1},
		{get: linux.PR_GET_THP_DISABLE, set: linux.PR_SET_THP_DISABLE, byValue: true, max: ^uintptr(0)},
	}
)

func sysPrctl(a *call.Args) (uintptr, linux.Errno) {
	op, arg := int(int32(a.A0)), a.A1
	switch op {
	case linux.PR_SET_NAME:
		s, errno := call.Path(arg)
		if errno != 0 {
			return 0, errno
		}
		name := new([16]byte)
		copy(name[:15], s)
		processName.Store(name)
		return 0, 0
	case linux.PR_GET_NAME:
		out, errno := call.At[[16]byte](arg)
		if errno != 0 {
			return 0, errno
		}
		*out = [16]byte{}
		if name := processName.Load(); name != nil {
			*out = *name
		}
		return 0, 0
	case linux.PR_GET_SECCOMP: // the program has no filter; the monitor's does not show
		return 0, 0
	case linux.PR_GET_KEEPCAPS, linux.PR_SET_KEEPCAPS, linux.PR_CAPBSET_READ, linux.PR_CAPBSET_DROP:
		return capabilityPrctl(op, arg)
	}
	for i := range attributes {
		at := &attributes[i]
		switch {
		case op == at.set:
			if arg > at.max {
				return 0, linux.EINVAL
			}
			at.value.Store(arg)
			return 0, 0
		case op == at.get && at.byValue:
			return at.value.Load(), 0
		case op == at.get:
			out, errno := call.At[int32](arg)
			if errno == 0 {
				*out = int32(at.value.Load())
			}
			return 0, errno
		}
	}
	return 0, linux.EINVAL
}
