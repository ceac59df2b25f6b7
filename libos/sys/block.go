package sys

import (
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// Block makes try until it returns something else than EAGAIN, waiting in
// between for one of events on f. It tries once when f is non-blocking.
// timeout is in nanoseconds; negative: none; when it is over, EAGAIN.
func Block(f file.File, events wait.Events, timeout int64, try func() (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	n, errno := try()
	if errno != linux.EAGAIN || f.Flags()&linux.O_NONBLOCK != 0 {
		return n, errno
	}
	q := f.Watch()
	if q == nil {
		return n, errno
	}
	var w platform.Waiter
	e := wait.Entry{Notify: func(wait.Events) { w.Wake() }}
	q.Register(&e, events)
	defer q.Unregister(&e)
	var end int64
	if timeout >= 0 {
		end = platform.Nanotime() + timeout
		t := platform.AfterFunc(timeout, w.Wake)
		defer t.Stop()
	}
	for {
		if n, errno = try(); errno != linux.EAGAIN {
			return n, errno
		}
		if timeout >= 0 && platform.Nanotime() >= end {
			return n, linux.EAGAIN
		}
		w.Wait()
	}
}

// Bytes is the caller's memory of n bytes at addr. Program and library OS are
// one address space at one privilege level: a bad pointer faults in the
// program's own goroutine and panics there, as any nil dereference does. Only
// what no program could mean is refused.
func Bytes(addr, n uintptr) ([]byte, linux.Errno) {
	if n == 0 {
		return nil, 0
	}
	if addr < platform.PageSize || n > 1<<47 {
		return nil, linux.EFAULT
	}
	return unsafe.Slice((*byte)(platform.Pointer(addr)), n), 0
}

// At is the caller's structure of type T at addr; nil with EFAULT for a null
// pointer.
func At[T any](addr uintptr) (*T, linux.Errno) {
	if addr < platform.PageSize {
		return nil, linux.EFAULT
	}
	return (*T)(platform.Pointer(addr)), 0
}

// PathMax is the longest path with its terminating zero (PATH_MAX).
const PathMax = 4096

// Path is the caller's zero-terminated path at addr.
func Path(addr uintptr) (string, linux.Errno) {
	if addr < platform.PageSize {
		return "", linux.EFAULT
	}
	for n := range PathMax {
		if *(*byte)(platform.Pointer(addr + uintptr(n))) == 0 {
			return string(unsafe.Slice((*byte)(platform.Pointer(addr)), n)), 0
		}
	}
	return "", linux.ENAMETOOLONG
}
