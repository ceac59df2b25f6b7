package platform

import "sync/atomic"

// Waiter parks one goroutine until another wakes it. The library OS uses it in
// place of channels: it allocates nothing, Wake may be called with any lock held,
// and it belongs to no testing/synctest bubble. The zero value is ready for use.
type Waiter struct {
	state atomic.Uint32
	sema  uint32
}

// States of a Waiter.
const (
	idle = iota
	woken
	waiting
)

// Wait parks the calling goroutine until a Wake. It returns at once if one came since
// the last Wait.
func (w *Waiter) Wait() {
	if w.state.CompareAndSwap(woken, idle) {
		return
	}
	if !w.state.CompareAndSwap(idle, waiting) {
		w.state.Store(idle) // a Wake came in between
		return
	}
	park(&w.sema)
}

// Wake ends the current Wait, or else the next one.
func (w *Waiter) Wake() {
	for {
		switch w.state.Load() {
		case woken:
			return
		case idle:
			if w.state.CompareAndSwap(idle, woken) {
				return
			}
		case waiting:
			if w.state.CompareAndSwap(waiting, idle) {
				unpark(&w.sema)
				return
			}
		}
	}
}
