// Package event is eventfd(2) as monitors use it: what a driver notifies a
// device by (ioeventfd), and a device a driver (irqfd), with no thread between,
// also of another process or of the kernel.
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

// Event is an eventfd. A nil one is never signalled.
type Event struct {
	fd      int
	file    *os.File
	raw     syscall.RawConn
	add     func(fd uintptr) bool
	stopped atomic.Bool
	count   [8]byte // of Wait
}

// New is a new event.
func New() (*Event, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return From(fd)
}

// From is the event of fd, which it owns from now on, also when it fails.
func From(fd int) (*Event, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(fd))
	}
	e := &Event{fd: fd, file: os.NewFile(uintptr(fd), "event")}
	// What cannot be polled would hold a thread, and could not be closed.
	err := e.file.SetDeadline(time.Time{})
	if err == nil {
		e.raw, err = e.file.SyscallConn()
	}
	if err != nil {
		return nil, errors.Join(errors.New("not an eventfd"), e.file.Close())
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	e.add = func(fd uintptr) bool {
		// EAGAIN: it is signalled as often as can be. Other errors are of
		// an event that somebody else made.
		_, _ = unix.Write(int(fd), one)
		return true
	}
	return e, nil
}

// FD is the descriptor, for the kernel and for other processes. It is the
// event's as long as that is open.
func (e *Event) FD() int { return e.fd }

// Signal signals the event and does not wait.
func (e *Event) Signal() {
	if e != nil {
		_ = e.raw.Write(e.add) // it fails when the event is closed
	}
}

// Wait waits until the event was signalled since the last Wait. It reports
// false once the event is closed or stopped. One goroutine waits at a time.
func (e *Event) Wait() bool {
	if e.Stopped() {
		return false // a Wait before may have taken Stop's own signal
	}
	_, err := e.file.Read(e.count[:])
	return err == nil && !e.Stopped()
}

// Stop ends a Wait, and those to come until Resume. The event stays open for
// who else has it.
func (e *Event) Stop() {
	e.stopped.Store(true)
	e.Signal()
}

// Stopped says whether Stop was called, for who has so much to do that it does
// not come to wait.
func (e *Event) Stopped() bool { return e.stopped.Load() }

// Resume has Wait wait again, after Stop, when nobody waits. What was signalled
// before is forgotten.
func (e *Event) Resume() {
	// It fails when the event is closed.
	_ = e.raw.Read(func(fd uintptr) bool {
		// EAGAIN: nothing was signalled.
		_, _ = unix.Read(int(fd), e.count[:])
		return true
	})
	e.stopped.Store(false)
}

// Close ends Wait and Signal.
func (e *Event) Close() {
	if e != nil {
		_ = e.file.Close()
	}
}
