// Package event wraps eventfd(2). Drivers notify devices through an eventfd (KVM's
// ioeventfd), and devices interrupt drivers through another one (irqfd). No thread
// stands between the two sides, even if the device is in another process or in the
// kernel.
package event

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Event is an eventfd. Signal and Close of a nil Event do nothing.
type Event struct {
	fd      int
	file    *os.File
	raw     syscall.RawConn
	add     func(fd uintptr) bool
	stopped atomic.Bool
	count   [8]byte // read by Wait
}

// New returns a new event.
func New() (*Event, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return From(fd)
}

// From returns an event for the eventfd fd. It owns fd, also if it fails.
func From(fd int) (*Event, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	e := &Event{fd: fd, file: os.NewFile(uintptr(fd), "event")}
	// A file that cannot be polled would block a thread in Wait, and Close would
	// not wake it.
	err := e.file.SetDeadline(time.Time{})
	if err == nil {
		e.raw, err = e.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(errors.New("not an eventfd"), e.file.Close())
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	e.add = func(fd uintptr) bool {
		// EAGAIN: the counter is at its maximum, so the event is signalled. Other
		// errors can only come from a descriptor that another process passed.
		_, _ = unix.Write(int(fd), one)
		return true
	}
	return e, nil
}

// FD returns the descriptor, for the kernel and for other processes. It is valid
// until Close.
func (e *Event) FD() int { return e.fd }

// Signal signals the event. It does not block.
func (e *Event) Signal() {
	if e != nil {
		_ = e.raw.Write(e.add) // fails if the event is closed
	}
}

// Wait waits until the event has been signalled since the last Wait. It reports
// false if the event is closed or stopped. Only one goroutine may wait at a time.
func (e *Event) Wait() bool {
	if e.Stopped() {
		return false // an earlier Wait may have consumed the signal of Stop
	}
	_, err := e.file.Read(e.count[:])
	return err == nil && !e.Stopped()
}

// Stop makes Wait return false, now and until Resume. The event stays open for
// others that use its descriptor.
func (e *Event) Stop() {
	e.stopped.Store(true)
	e.Signal()
}

// Stopped reports whether Stop was called. A goroutine that is too busy to call Wait
// asks it between two pieces of work.
func (e *Event) Stopped() bool { return e.stopped.Load() }

// Resume undoes Stop and discards earlier signals. No goroutine may be in Wait.
func (e *Event) Resume() {
	// Fails if the event is closed.
	_ = e.raw.Read(func(fd uintptr) bool {
		// EAGAIN: the event was not signalled.
		_, _ = unix.Read(int(fd), e.count[:])
		return true
	})
	e.stopped.Store(false)
}

// Close closes the descriptor. Wait then returns false, and Signal does nothing.
func (e *Event) Close() {
	if e != nil {
		_ = e.file.Close()
	}
}
