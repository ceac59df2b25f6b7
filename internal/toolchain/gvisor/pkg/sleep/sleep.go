//go:build pith

// Package sleep stands in for gVisor's, which parks goroutines through the
// runtime's internals: a sleeper that any of several wakers wakes.
package sleep

import (
	"sync"
	"sync/atomic"
)

// Sleeper sleeps until one of its wakers is asserted. One goroutine may fetch.
type Sleeper struct {
	mu       sync.Mutex
	wake     sync.Cond
	asserted []*Waker // in the order they were asserted
}

// Waker wakes the sleeper it was added to.
type Waker struct {
	sleeper  *Sleeper
	asserted atomic.Bool
}

// AddWaker gives w to s, before anybody asserts w.
func (s *Sleeper) AddWaker(w *Waker) {
	s.wake.L = &s.mu
	w.sleeper = s
}

// Assert wakes the sleeper. Until it fetched w, asserting again does nothing.
func (w *Waker) Assert() {
	if w.asserted.Load() || w.asserted.Swap(true) {
		return
	}
	s := w.sleeper
	s.mu.Lock()
	s.asserted = append(s.asserted, w)
	s.mu.Unlock()
	s.wake.Signal()
}

// Fetch removes and returns an asserted waker, in order. When there is none it
// waits if block is set, and otherwise returns nil.
func (s *Sleeper) Fetch(block bool) *Waker {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.asserted) == 0 {
		if !block {
			return nil
		}
		s.wake.Wait()
	}
	w := s.asserted[0]
	s.asserted = append(s.asserted[:0], s.asserted[1:]...)
	w.asserted.Store(false)
	return w
}

// Done ends the use of s. Its wakers keep nothing else alive.
func (s *Sleeper) Done() {}
