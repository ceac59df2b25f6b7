package polling

import (
	"unsafe"

	"github.com/pith-os/pith/libos/epoll"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"
)

// epollOf returns the epoll instance of a descriptor.
func epollOf(fd uintptr) (*epoll.Poll, linux.Errno) {
	switch p := call.Files.Get(int(int32(fd))).(type) {
	case nil:
		return nil, linux.EBADF
	case *epoll.Poll:
		return p, 0
	default:
		return nil, linux.EINVAL
	}
}

func sysEpollCtl(a *call.Args) (uintptr, linux.Errno) {
	op, fd := int(int32(a.A1)), int(int32(a.A2))
	var ev *linux.EpollEvent
	if op != linux.EPOLL_CTL_DEL {
		var errno linux.Errno
		if ev, errno = call.At[linux.EpollEvent](a.A3); errno != 0 {
			return 0, errno
		}
	}
	if call.Files.Get(int(int32(a.A0))) == nil {
		return 0, linux.EBADF
	}
	o := call.Files.Hold(fd)
	if o == nil {
		return 0, linux.EBADF
	}
	defer o.Drop()
	if o.Watch() == nil {
		return 0, linux.EPERM
	}
	p, errno := epollOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	return 0, p.Control(op, fd, o, ev)
}

// epollWait is epoll_wait(2) with a timeout in nanoseconds; a negative one means no
// timeout.
func epollWait(a *call.Args, timeout int64) (uintptr, linux.Errno) {
	n := int(int32(a.A2))
	if n <= 0 || n > (1<<31-1)/int(unsafe.Sizeof(linux.EpollEvent{})) {
		return 0, linux.EINVAL
	}
	if a.A1 < platform.PageSize {
		return 0, linux.EFAULT
	}
	p, errno := epollOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	events := unsafe.Slice((*linux.EpollEvent)(platform.Pointer(a.A1)), n)
	got, errno := call.Wait(p.Watch(), wait.In, timeout, func() (uintptr, linux.Errno) {
		n, errno := p.Wait(events)
		return uintptr(n), errno
	})
	if errno == linux.EAGAIN { // the time is over
		return 0, 0
	}
	return got, errno
}

// milliseconds converts a timeout argument from milliseconds to nanoseconds. A
// negative one means no timeout.
func milliseconds(arg uintptr) int64 { return int64(int32(arg)) * 1e6 }

// checkSigmask checks the signal mask of ppoll(2) and its like. The mask has no
// effect: no signal interrupts a wait.
func checkSigmask(addr, size uintptr) linux.Errno {
	if addr != 0 && size != 8 {
		return linux.EINVAL
	}
	return 0
}
