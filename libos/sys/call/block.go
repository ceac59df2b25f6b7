package call

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// Block calls try until it returns something other than EAGAIN. Between two
// tries it waits for one of events on f. If f is non-blocking, it tries once.
// timeout is in nanoseconds; a negative one means no timeout. When the time is
// over, Block returns EAGAIN.
func Block(f file.File, events wait.Events, timeout int64, try func() (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	n, errno := try()
	if errno != linux.EAGAIN || f.Flags()&linux.O_NONBLOCK != 0 {
		return n, errno
	}
	q := f.Watch()
	if q == nil {
		return n, errno
	}
	return Wait(q, events, timeout, try)
}

// Wait is like Block for anything that announces its events on q, whatever the
// flags of a file.
func Wait(q *wait.Queue, events wait.Events, timeout int64, try func() (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	var w Waiter
	w.Start(timeout)
	defer w.Stop()
	e := wait.Entry{Notify: w.Notify}
	q.Register(&e, events)
	defer q.Unregister(&e)
	for {
		n, errno := try()
		if errno != linux.EAGAIN || !w.Park() {
			return n, errno
		}
	}
}

// Waiter is a goroutine that waits for any of several events, or for a time.
type Waiter struct {
	platform.Waiter
	timed bool
	end   int64 // if timed: on the monotonic clock, in nanoseconds
	timer *platform.Timer
}

// Start sets the timeout in nanoseconds; a negative one means no timeout.
func (w *Waiter) Start(timeout int64) {
	if timeout < 0 {
		return
	}
	w.timed, w.end = true, linux.AddSaturated(platform.Nanotime(), timeout)
	if timeout > 0 {
		w.timer = platform.AfterFunc(timeout, w.Wake)
	}
}

// Notify wakes the waiter. It serves as the Notify of a wait.Entry.
func (w *Waiter) Notify(wait.Events) { w.Wake() }

// Park parks the goroutine until something happens. It reports false when the
// time is over.
func (w *Waiter) Park() bool {
	if w.timed && platform.Nanotime() >= w.end {
		return false
	}
	w.Wait()
	return true
}

// Stop stops the timer.
func (w *Waiter) Stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// Timeout returns the timeout in the struct timespec at addr, in nanoseconds. A
// null pointer means no timeout: -1. The error is EFAULT or EINVAL.
func Timeout(addr uintptr) (int64, linux.Errno) {
	if addr == 0 {
		return -1, 0
	}
	t, errno := At[linux.Timespec](addr)
	if errno != 0 {
		return 0, errno
	}
	if !t.Valid() {
		return 0, linux.EINVAL
	}
	return t.Saturated(), 0
}

// Left returns what remains of a timeout that began at start, at least zero. All
// are in nanoseconds.
func Left(start, timeout int64) int64 {
	return max(timeout-(platform.Nanotime()-start), 0)
}
