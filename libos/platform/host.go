//go:build pith

package platform

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// Host is a descriptor of the host that the library OS was given: packets, a
// listening socket, an accepted connection. Reads and writes do not block.
//
// The poller can tell one pollDesc of a descriptor. That is the runtime's own
// (Attach), so that a connection of package net costs what it costs on Linux;
// or, while a goroutine of the library OS waits (Wait), one of ours, and what
// it hears is passed on.
type Host struct {
	fd int

	mu      sync.Mutex
	user    uintptr        // attached pollDesc, or 0
	own     unsafe.Pointer // pollDesc of Wait
	watched bool           // events go to own, not to user
	waiters int            // goroutines in Wait, which use own
	closed  bool
}

// OpenHost prepares fd for reading, writing and waiting.
func OpenHost(fd int) (*Host, linux.Errno) {
	pd, errno := hostPollOpen(fd)
	if errno != 0 {
		return nil, linux.Errno(errno)
	}
	return &Host{fd: fd, own: pd, watched: true}, 0
}

// Read reads without blocking.
func (h *Host) Read(p []byte) (int, linux.Errno) { return rw(linux.SYS_READ, h.fd, p, hostCall) }

// Write writes without blocking.
func (h *Host) Write(p []byte) (int, linux.Errno) { return rw(linux.SYS_WRITE, h.fd, p, hostCall) }

// Accept is accept4(2) on a listening socket. addr receives the peer's socket
// address and its length is returned.
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

// Shutdown is shutdown(2) of a connection.
func (h *Host) Shutdown(how int) linux.Errno {
	return errnoOf(hostCall(linux.SYS_SHUTDOWN, uintptr(h.fd), uintptr(how), 0, 0, 0, 0))
}

// Close closes the descriptor and wakes who waits for it.
func (h *Host) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.closed = true
	hostPollUnblock(h.own)
	h.release()
}

// release gives the closed descriptor back when nobody is in Wait any more,
// with h.mu held.
func (h *Host) release() {
	if h.waiters == 0 {
		hostPollClose(h.own)
		hostCall(linux.SYS_CLOSE, uintptr(h.fd), 0, 0, 0, 0, 0)
	}
}

// Attach has the runtime's pollDesc pd told of the descriptor's readiness.
func (h *Host) Attach(pd uintptr) linux.Errno {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return linux.EBADF
	}
	h.user = pd
	if h.waiters > 0 {
		// They go on hearing, and pass on; what they heard before now
		// they could not.
		PollReady(pd, Readable|Writable)
		return 0
	}
	h.watched = false
	return linux.Errno(hostPollMod(h.fd, Pointer(pd)))
}

// Detach undoes Attach.
func (h *Host) Detach(pd uintptr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || h.user != pd {
		return
	}
	h.user = 0
	h.watch()
}

// watch has events go to own, with h.mu held.
func (h *Host) watch() {
	if !h.watched {
		h.watched = true
		hostPollMod(h.fd, h.own)
	}
}

// Wait parks the calling goroutine until the descriptor becomes ready in the
// given direction, or is closed (EBADF). One goroutine a direction may wait.
// Try the operation first: only what happens after that is sure to wake.
func (h *Host) Wait(m Mode) linux.Errno {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return linux.EBADF
	}
	h.watch()
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
		h.release()
	}
	if h.closed || failed {
		return linux.EBADF
	}
	if h.user != 0 {
		PollReady(h.user, m)
	}
	return 0
}
