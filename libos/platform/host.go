//go:build pith

package platform

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// Host is a descriptor of the host: packets, a listening socket, a connection, or the
// channel to the monitor. Reads and writes do not block.
//
// The poller reports a descriptor's events to one pollDesc. After Attach, that is
// the runtime's own, so a connection of package net costs what it costs on Linux.
// While a goroutine of the library OS is in Wait, it is own, and Wait passes the
// events on. Until one of both is first needed, the poller does not know the
// descriptor.
type Host struct {
	fd int

	mu      sync.Mutex
	user    uintptr        // attached pollDesc, or 0
	own     unsafe.Pointer // pollDesc of Wait; nil: never needed
	watched bool           // events go to own
	waiters int            // goroutines in Wait, which use own
	closed  bool
}

// OpenHost prepares fd for reading, writing and waiting.
func OpenHost(fd int) (*Host, linux.Errno) { return &Host{fd: fd}, 0 }

// Read reads without blocking.
func (h *Host) Read(p []byte) (int, linux.Errno) { return rw(linux.SYS_READ, h.fd, p, hostCall) }

// Write writes without blocking.
func (h *Host) Write(p []byte) (int, linux.Errno) { return rw(linux.SYS_WRITE, h.fd, p, hostCall) }

// MaxBuffers is how many buffers one call of Writev takes.
const MaxBuffers = 64

// Writev writes the first MaxBuffers of p, without blocking.
func (h *Host) Writev(p [][]byte) (int, linux.Errno) {
	var vec [MaxBuffers]linux.Iovec
	n := min(len(p), MaxBuffers)
	for i := range n {
		vec[i] = linux.Iovec{Base: uintptr(unsafe.Pointer(unsafe.SliceData(p[i]))), Len: uint64(len(p[i]))}
	}
	r, errno := result(hostCall(linux.SYS_WRITEV, uintptr(h.fd), uintptr(unsafe.Pointer(&vec)), uintptr(n), 0, 0, 0))
	return int(r), errno
}

// Recv is recv(2) on a connected socket, without blocking.
func (h *Host) Recv(p []byte, flags int) (int, linux.Errno) {
	n, errno := result(hostCall(linux.SYS_RECVFROM, uintptr(h.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		uintptr(flags|linux.MSG_DONTWAIT), 0, 0))
	return int(n), errno
}

// Send is send(2) on a connected socket, without blocking and without SIGPIPE.
func (h *Host) Send(p []byte, flags int) (int, linux.Errno) { return h.SendTo(p, nil, flags) }

// SendTo is sendto(2), without blocking and without SIGPIPE.
func (h *Host) SendTo(p, addr []byte, flags int) (int, linux.Errno) {
	n, errno := result(hostCall(linux.SYS_SENDTO, uintptr(h.fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		uintptr(flags|linux.MSG_DONTWAIT|linux.MSG_NOSIGNAL), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(len(addr))))
	return int(n), errno
}

// SendMessage is sendmsg(2) with the first MaxBuffers of data, without blocking and
// without SIGPIPE. addr and control may be nil.
func (h *Host) SendMessage(data [][]byte, addr, control []byte, flags int) (int, linux.Errno) {
	var vec [MaxBuffers]linux.Iovec
	msg := messageHeader(&vec, data, addr, control)
	n, errno := result(hostCall(linux.SYS_SENDMSG, uintptr(h.fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags|linux.MSG_DONTWAIT|linux.MSG_NOSIGNAL), 0, 0, 0))
	return int(n), errno
}

// RecvMessage is recvmsg(2) into the first MaxBuffers of data, without blocking.
func (h *Host) RecvMessage(data [][]byte, addr, control []byte, flags int) (r Received, errno linux.Errno) {
	var vec [MaxBuffers]linux.Iovec
	msg := messageHeader(&vec, data, addr, control)
	n, errno := result(hostCall(linux.SYS_RECVMSG, uintptr(h.fd), uintptr(unsafe.Pointer(&msg)), uintptr(flags|linux.MSG_DONTWAIT|linux.MSG_CMSG_CLOEXEC), 0, 0, 0))
	if errno != 0 {
		return r, errno
	}
	return Received{
		N: int(n), Addr: min(int(msg.Namelen), len(addr)), Control: min(int(msg.Controllen), len(control)), Flags: int(msg.Flags),
	}, 0
}

// messageHeader returns a struct msghdr that refers to its arguments.
func messageHeader(vec *[MaxBuffers]linux.Iovec, data [][]byte, addr, control []byte) linux.Msghdr {
	n := min(len(data), MaxBuffers)
	for i := range n {
		vec[i] = linux.Iovec{Base: uintptr(unsafe.Pointer(unsafe.SliceData(data[i]))), Len: uint64(len(data[i]))}
	}
	return linux.Msghdr{
		Name: uintptr(unsafe.Pointer(unsafe.SliceData(addr))), Namelen: uint32(len(addr)),
		Iov: uintptr(unsafe.Pointer(vec)), Iovlen: uint64(n),
		Control: uintptr(unsafe.Pointer(unsafe.SliceData(control))), Controllen: uint64(len(control)),
	}
}

// Receive reads a message that may carry one descriptor. A thread waits for it.
func (h *Host) Receive(p []byte) (n int, passed *Host, errno linux.Errno) {
	var control struct {
		linux.Cmsghdr
		fd  int32
		pad int32
	}
	vec := linux.Iovec{Base: uintptr(unsafe.Pointer(unsafe.SliceData(p))), Len: uint64(len(p))}
	msg := linux.Msghdr{
		Iov: uintptr(unsafe.Pointer(&vec)), Iovlen: 1,
		Control: uintptr(unsafe.Pointer(&control)), Controllen: uint64(unsafe.Sizeof(control)),
	}
	r, errno := result(hostCallBlocking(linux.SYS_RECVMSG, uintptr(h.fd), uintptr(unsafe.Pointer(&msg)), linux.MSG_CMSG_CLOEXEC, 0, 0, 0))
	switch {
	case errno != 0:
		return 0, nil, errno
	case msg.Flags&linux.MSG_CTRUNC != 0:
		return int(r), nil, linux.EMFILE
	case msg.Controllen < uint64(unsafe.Sizeof(control.Cmsghdr))+4 || control.Level != linux.SOL_SOCKET || control.Type != linux.SCM_RIGHTS:
		return int(r), nil, 0
	}
	passed, errno = OpenHost(int(control.fd))
	if errno != 0 {
		hostCall(linux.SYS_CLOSE, uintptr(control.fd), 0, 0, 0, 0, 0)
	}
	return int(r), passed, errno
}

// Accept is accept4(2) on a listening socket. It stores the peer's socket address
// in addr and returns its length.
func (h *Host) Accept(addr []byte) (conn *Host, n int, errno linux.Errno) {
	const nonblock, cloexec = 0x800, 0x80000
	size := uint32(len(addr))
	fd, errno := result(hostCall(linux.SYS_ACCEPT4, uintptr(h.fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(unsafe.Pointer(&size)), nonblock|cloexec, 0, 0))
	if errno != 0 {
		return nil, 0, errno
	}
	conn, errno = OpenHost(int(fd))
	if errno != 0 {
		hostCall(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		return nil, 0, errno
	}
	return conn, min(int(size), len(addr)), 0
}

// Name is getsockname(2) or getpeername(2). It stores the address in addr and returns
// its length.
func (h *Host) Name(peer bool, addr []byte) (int, linux.Errno) {
	call := uintptr(linux.SYS_GETSOCKNAME)
	if peer {
		call = linux.SYS_GETPEERNAME
	}
	size := uint32(len(addr))
	_, errno := result(hostCall(call, uintptr(h.fd), uintptr(unsafe.Pointer(unsafe.SliceData(addr))), uintptr(unsafe.Pointer(&size)), 0, 0, 0))
	return min(int(size), len(addr)), errno
}

// SetOption is setsockopt(2) of an option in boot.PassedOptions.
func (h *Host) SetOption(level, name int, val []byte) linux.Errno {
	return errnoOf(hostCall(linux.SYS_SETSOCKOPT, uintptr(h.fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(len(val)), 0))
}

// Option is getsockopt(2) of an option in boot.PassedOptions.
func (h *Host) Option(level, name int, val []byte) (int, linux.Errno) {
	size := uint32(len(val))
	_, errno := result(hostCall(linux.SYS_GETSOCKOPT, uintptr(h.fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(unsafe.SliceData(val))), uintptr(unsafe.Pointer(&size)), 0))
	return min(int(size), len(val)), errno
}

// Shutdown is shutdown(2) of a connection.
func (h *Host) Shutdown(how int) linux.Errno {
	return errnoOf(hostCall(linux.SYS_SHUTDOWN, uintptr(h.fd), uintptr(how), 0, 0, 0, 0))
}

// Close closes the descriptor and wakes the goroutines in Wait.
func (h *Host) Close() { h.close(hostCall) }

// CloseLingering is Close for a socket whose SO_LINGER makes close(2) wait for its
// peer. A thread waits.
func (h *Host) CloseLingering() { h.close(hostCallBlocking) }

type hostCaller = func(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr

func (h *Host) close(call hostCaller) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	if h.own != nil {
		hostPollUnblock(h.own)
	}
	h.release(call)
}

// release closes the descriptor if no goroutine is in Wait, with h.mu held. The
// poller forgets a closed descriptor, and ignores an event of the past for a
// pollDesc that has a new descriptor.
func (h *Host) release(call hostCaller) {
	if h.waiters > 0 {
		return
	}
	if h.own != nil {
		hostPollClose(h.own)
	}
	call(linux.SYS_CLOSE, uintptr(h.fd), 0, 0, 0, 0, 0)
}

// Attach sends the descriptor's events to the runtime's pollDesc pd.
func (h *Host) Attach(pd uintptr) linux.Errno {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return linux.EBADF
	}
	h.user = pd
	if h.waiters > 0 {
		// They go on receiving the events and pass them on. pd has missed
		// the events until now.
		PollReady(pd, Readable|Writable)
		return 0
	}
	h.watched = false
	return linux.Errno(hostPollSend(h.fd, Pointer(pd)))
}

// Detach undoes Attach.
func (h *Host) Detach(pd uintptr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.user == pd {
		h.user = 0
	}
}

// watch sends the events to own, with h.mu held.
func (h *Host) watch() linux.Errno {
	switch {
	case h.watched:
		return 0
	case h.own == nil:
		pd, errno := hostPollOpen(h.fd)
		if errno != 0 {
			return linux.Errno(errno)
		}
		h.own = pd
	default:
		if errno := hostPollSend(h.fd, h.own); errno != 0 {
			return linux.Errno(errno)
		}
	}
	h.watched = true
	return 0
}

// Wait parks the calling goroutine until the descriptor becomes ready in direction
// m, or is closed (EBADF). One goroutine waits for each direction. Try the operation
// first: only what happens after that is sure to wake.
func (h *Host) Wait(m Mode) linux.Errno {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return linux.EBADF
	}
	if errno := h.watch(); errno != 0 {
		h.mu.Unlock()
		return errno
	}
	h.waiters++
	h.mu.Unlock()
	mode := int('r')
	if m == Writable {
		mode = 'w'
	}
	failed := hostPollWait(h.own, mode) != 0
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiters--
	if h.closed {
		h.release(hostCall)
	}
	if h.closed || failed {
		return linux.EBADF
	}
	if h.user != 0 {
		PollReady(h.user, m)
	}
	return 0
}
