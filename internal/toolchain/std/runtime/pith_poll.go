//go:build pith

package runtime

import "unsafe"

// The poller has two sources. The first is the host descriptors of packets, published ports
// and their connections. They are in the epoll instance of the runtime's netpoll. The second
// is the files of the library OS, which calls pithpollready when their readiness changes.

// pithhostfd marks a host descriptor passed to poll_runtime_pollOpen.
const pithhostfd = 1 << 62

var pithpoller struct {
	open  func(fd int, pd uintptr) uintptr
	close func(fd int) uintptr
}

//go:linkname pithsetpoller pith/libos/platform.setPoller
func pithsetpoller(open func(fd int, pd uintptr) uintptr, close func(fd int) uintptr) {
	pithpoller.open, pithpoller.close = open, close
}

func netpollopen(fd uintptr, pd *pollDesc) uintptr {
	if fd&pithhostfd != 0 {
		return pithhostpollsend(int(fd&^pithhostfd), unsafe.Pointer(pd))
	}
	if pithpoller.open == nil {
		return _EPERM
	}
	return pithpoller.open(int(fd), uintptr(unsafe.Pointer(pd)))
}

func netpollclose(fd uintptr) uintptr {
	if fd&pithhostfd != 0 {
		return pithepollctl(2, fd&^pithhostfd, nil) // EPOLL_CTL_DEL
	}
	if pithpoller.close == nil {
		return 0
	}
	return pithpoller.close(int(fd))
}

// netpollIsPollDescriptor returns false. The poller's own descriptors are the host's, and a
// program cannot name host descriptors.
func netpollIsPollDescriptor(fd uintptr) bool { return false }

const (
	_EPERM  = 1
	_EEXIST = 17
)

// pithepollctl makes epoll_ctl(2) for edge-triggered events of both directions. The events
// carry a tagged pointer to pd, which netpoll unpacks. It returns an error number.
func pithepollctl(op, fd uintptr, pd *pollDesc) uintptr {
	var ev epollEvent
	const in, out, rdhup, et = 0x1, 0x4, 0x2000, 0x80000000
	ev.events = in | out | rdhup | et
	if pd != nil {
		*(*taggedPointer)(unsafe.Pointer(&ev.data)) = taggedPointerPack(unsafe.Pointer(pd), pd.fdseq.Load())
	}
	return -pithhostcall(nrEpollCtl, uintptr(epfd), op, fd, uintptr(noescape(unsafe.Pointer(&ev))), 0, 0)
}

// pithhostpollopen returns a pollDesc that gets the events of the host descriptor fd.
//
//go:linkname pithhostpollopen pith/libos/platform.hostPollOpen
func pithhostpollopen(fd int) (pd unsafe.Pointer, errno int) {
	netpollGenericInit()
	p, e := poll_runtime_pollOpen(uintptr(fd) | pithhostfd)
	return unsafe.Pointer(p), e
}

// pithhostpollunblock wakes the goroutines that wait with pd. Once they are gone, the caller
// may call pithhostpollclose, after which the runtime uses pd again.
//
//go:linkname pithhostpollunblock pith/libos/platform.hostPollUnblock
func pithhostpollunblock(pd unsafe.Pointer) { poll_runtime_pollUnblock((*pollDesc)(pd)) }

//go:linkname pithhostpollclose pith/libos/platform.hostPollClose
func pithhostpollclose(pd unsafe.Pointer) { poll_runtime_pollClose((*pollDesc)(pd)) }

// pithhostpollsend sends the events of the open host descriptor fd to pd. It begins with the
// descriptor's present state. A descriptor may send its events to another pd already.
//
//go:linkname pithhostpollsend pith/libos/platform.hostPollSend
func pithhostpollsend(fd int, pd unsafe.Pointer) uintptr {
	e := pithepollctl(1, uintptr(fd), (*pollDesc)(pd)) // EPOLL_CTL_ADD
	if e == _EEXIST {
		e = pithepollctl(3, uintptr(fd), (*pollDesc)(pd)) // EPOLL_CTL_MOD
	}
	return e
}

//go:linkname pithhostpollwait pith/libos/platform.hostPollWait
func pithhostpollwait(pd unsafe.Pointer, mode int) int {
	return poll_runtime_pollWait((*pollDesc)(pd), mode)
}

// pithpollready makes pd ready in mode ('r', 'w' or their sum), and wakes the goroutines that
// wait for it. netpoll does the same for events of epoll.
//
//go:linkname pithpollready pith/libos/platform.pollReady
func pithpollready(pd uintptr, mode int32) {
	var toRun gList
	delta := netpollready(&toRun, (*pollDesc)(unsafe.Pointer(pd)), mode)
	netpollAdjustWaiters(delta)
	for !toRun.empty() {
		goready(toRun.pop(), 1)
	}
}
