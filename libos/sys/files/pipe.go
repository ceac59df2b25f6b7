package files

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/pipe"
	"github.com/pith-os/pith/libos/sys/call"
)

// sysPipe is pipe2(2).
func sysPipe(addr uintptr, flags uint32) (uintptr, linux.Errno) {
	if flags&^(linux.O_CLOEXEC|linux.O_NONBLOCK|linux.O_DIRECT) != 0 {
		return 0, linux.EINVAL
	}
	out, errno := call.At[[2]int32](addr)
	if errno != 0 {
		return 0, errno
	}
	r, w := pipe.Pair(flags &^ linux.O_CLOEXEC)
	return 0, call.InstallPair(out, r, w, flags)
}
