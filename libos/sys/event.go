package sys

import (
	"github.com/pith-os/pith/libos/event"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/pipe"
)

func init() {
	Register(linux.SYS_PIPE, func(a *Args) (uintptr, linux.Errno) { return sysPipe(a.A0, 0) })
	Register(linux.SYS_PIPE2, func(a *Args) (uintptr, linux.Errno) { return sysPipe(a.A0, uint32(a.A1)) })
}

func registerEvents() {
	Register(linux.SYS_EVENTFD, func(a *Args) (uintptr, linux.Errno) { return sysEventfd(uint32(a.A0), 0) })
	Register(linux.SYS_EVENTFD2, func(a *Args) (uintptr, linux.Errno) { return sysEventfd(uint32(a.A0), uint32(a.A1)) })
	Register(linux.SYS_TIMERFD_CREATE, sysTimerfdCreate)
	Register(linux.SYS_TIMERFD_SETTIME, sysTimerfdSettime)
	Register(linux.SYS_TIMERFD_GETTIME, sysTimerfdGettime)
}

// install gives f, a new file, the lowest free descriptor; flags has O_CLOEXEC
// or not. Without a free one f is released.
func install(f file.File, flags uint32) (uintptr, linux.Errno) {
	fd, errno := Files.Install(f, 0, flags&linux.O_CLOEXEC != 0)
	if errno != 0 {
		f.Release()
	}
	return uintptr(fd), errno
}

// installPair gives two new files descriptors, both or none, and stores their
// numbers at out.
func installPair(out *[2]int32, a, b file.File, flags uint32) linux.Errno {
	fdA, errno := install(a, flags)
	if errno != 0 {
		b.Release()
		return errno
	}
	fdB, errno := install(b, flags)
	if errno != 0 {
		Files.Close(int(fdA))
		return errno
	}
	*out = [2]int32{int32(fdA), int32(fdB)}
	return 0
}

// sysPipe is pipe2(2).
func sysPipe(addr uintptr, flags uint32) (uintptr, linux.Errno) {
	if flags&^(linux.O_CLOEXEC|linux.O_NONBLOCK|linux.O_DIRECT) != 0 {
		return 0, linux.EINVAL
	}
	out, errno := At[[2]int32](addr)
	if errno != 0 {
		return 0, errno
	}
	r, w := pipe.Pair(flags &^ linux.O_CLOEXEC)
	return 0, installPair(out, r, w, flags)
}

func sysEventfd(n, flags uint32) (uintptr, linux.Errno) {
	if flags&^(linux.EFD_SEMAPHORE|linux.EFD_NONBLOCK|linux.EFD_CLOEXEC) != 0 {
		return 0, linux.EINVAL
	}
	return install(event.NewCounter(n, flags), flags)
}

func sysTimerfdCreate(a *Args) (uintptr, linux.Errno) {
	clock, flags := int(int32(a.A0)), uint32(a.A1)
	if flags&^(linux.TFD_NONBLOCK|linux.TFD_CLOEXEC) != 0 {
		return 0, linux.EINVAL
	}
	t, errno := event.NewTimer(clock, flags)
	if errno != 0 {
		return 0, errno
	}
	return install(t, flags)
}

// timerfd is the timer of a descriptor.
func timerfd(fd uintptr) (*event.Timer, linux.Errno) {
	switch t := Files.Get(int(int32(fd))).(type) {
	case nil:
		return nil, linux.EBADF
	case *event.Timer:
		return t, 0
	default:
		return nil, linux.EINVAL
	}
}

func sysTimerfdSettime(a *Args) (uintptr, linux.Errno) {
	spec, errno := At[linux.Itimerspec](a.A2)
	if errno != 0 {
		return 0, errno
	}
	t, errno := timerfd(a.A0)
	if errno != 0 {
		return 0, errno
	}
	old, errno := t.Set(int(int32(a.A1)), *spec)
	if errno == 0 && a.A3 != 0 {
		out, errno := At[linux.Itimerspec](a.A3)
		if errno != 0 {
			return 0, errno
		}
		*out = old
	}
	return 0, errno
}

func sysTimerfdGettime(a *Args) (uintptr, linux.Errno) {
	t, errno := timerfd(a.A0)
	if errno != 0 {
		return 0, errno
	}
	out, errno := At[linux.Itimerspec](a.A1)
	if errno != 0 {
		return 0, errno
	}
	*out = t.Get()
	return 0, 0
}
