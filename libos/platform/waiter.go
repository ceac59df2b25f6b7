package platform

import "sync/atomic"

// Waiter blocks one goroutine until somebody wakes it. It is what the library
// OS uses instead of channels: it allocates nothing, may be woken from under
// any lock, and belongs to no testing/synctest bubble. The zero value is ready.
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

// Wait returns after a Wake that came since the last Wait.
func (w *Waiter) Wait() {
	if w.state.CompareAndSwap(woken, idle) {
		return
	}
	if !w.state.CompareAndSwap(idle, waiting) {
		w.state.Store(idle) // woken in between
		return
	}
	park(&w.sema)
}

// Wake ends the Wait that is going on, or else the next one.
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
