package polling

import (
	"github.com/pith-os/pith/libos/event"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

func sysEventfd(n, flags uint32) (uintptr, linux.Errno) {
	if flags&^(linux.EFD_SEMAPHORE|linux.EFD_NONBLOCK|linux.EFD_CLOEXEC) != 0 {
		return 0, linux.EINVAL
	}
	return call.Install(event.NewCounter(n, flags), flags)
}

func sysTimerfdCreate(a *call.Args) (uintptr, linux.Errno) {
	clock, flags := int(int32(a.A0)), uint32(a.A1)
	if flags&^(linux.TFD_NONBLOCK|linux.TFD_CLOEXEC) != 0 {
		return 0, linux.EINVAL
	}
	t, errno := event.NewTimer(clock, flags)
	if errno != 0 {
		return 0, errno
	}
	return call.Install(t, flags)
}

// timerfd returns the timer of a descriptor.
func timerfd(fd uintptr) (*event.Timer, linux.Errno) {
	switch t := call.Files.Get(int(int32(fd))).(type) {
	case nil:
		return nil, linux.EBADF
	case *event.Timer:
		return t, 0
	default:
		return nil, linux.EINVAL
	}
}

func sysTimerfdSettime(a *call.Args) (uintptr, linux.Errno) {
	spec, errno := call.At[linux.Itimerspec](a.A2)
	if errno != 0 {
		return 0, errno
	}
	t, errno := timerfd(a.A0)
	if errno != 0 {
		return 0, errno
	}
	old, errno := t.Set(int(int32(a.A1)), *spec)
	if errno == 0 && a.A3 != 0 {
		out, errno := call.At[linux.Itimerspec](a.A3)
		if errno != 0 {
			return 0, errno
		}
		*out = old
	}
	return 0, errno
}

func sysTimerfdGettime(a *call.Args) (uintptr, linux.Errno) {
	t, errno := timerfd(a.A0)
	if errno != 0 {
		return 0, errno
	}
	out, errno := call.At[linux.Itimerspec](a.A1)
	if errno != 0 {
		return 0, errno
	}
	*out = t.Get()
	return 0, 0
}
