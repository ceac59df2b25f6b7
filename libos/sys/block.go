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
	return block(q, events, timeout, try)
}

// block is Block for a file that changes with q, whatever its flags.
func block(q *wait.Queue, events wait.Events, timeout int64, try func() (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	var w waiter
	w.start(timeout)
	defer w.stop()
	e := wait.Entry{Notify: w.notify}
	q.Register(&e, events)
	defer q.Unregister(&e)
	for {
		n, errno := try()
		if errno != linux.EAGAIN || !w.wait() {
			return n, errno
		}
	}
}

// waiter is a goroutine that waits for any of several events, or a time.
type waiter struct {
	platform.Waiter
	timed bool
	end   int64 // when timed, on the monotonic clock
	timer *platform.Timer
}

// start sets the timeout in nanoseconds; negative: none.
func (w *waiter) start(timeout int64) {
	if timeout < 0 {
		return
	}
	w.timed, w.end = true, linux.AddSaturated(platform.Nanotime(), timeout)
	if timeout > 0 {
		w.timer = platform.AfterFunc(timeout, w.Wake)
	}
}

// notify wakes the waiter; it is the Notify of a wait.Entry.
func (w *waiter) notify(wait.Events) { w.Wake() }

// wait parks the goroutine until something happened. When the time is over it
// returns false.
func (w *waiter) wait() bool {
	if w.timed && platform.Nanotime() >= w.end {
		return false
	}
	w.Wait()
	return true
}

func (w *waiter) stop() {
	if w.timer != nil {
		w.timer.Stop()
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
