package vhostuser

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// event is an eventfd(2) of the front end's.
type event struct {
	file *os.File
	raw  syscall.RawConn
	add  func(fd uintptr) bool
}

// newEvent is the event of fd, which it owns.
func newEvent(fd int) (*event, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	e := &event{file: os.NewFile(uintptr(fd), "event")}
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
		// EAGAIN: it is signalled as often as can be. Other errors are the
		// front end's, whose event it is.
		_, _ = unix.Write(int(fd), one)
		return true
	}
	return e, nil
}

// signal signals the event and does not wait. A nil event is one that the front
// end does not want.
func (e *event) signal() {
	if e != nil {
		_ = e.raw.Write(e.add) // it fails when the event is closed
	}
}

// each calls f each time that the event was signalled, until it is closed.
func (e *event) each(f func()) {
	var count [8]byte
	for {
		if _, err := e.file.Read(count[:]); err != nil {
			return
		}
		f()
	}
}

// close ends each and signal.
func (e *event) close() {
	if e != nil {
		_ = e.file.Close()
	}
}
