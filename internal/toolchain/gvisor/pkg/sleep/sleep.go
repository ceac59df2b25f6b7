//go:build pith

// Package sleep replaces gVisor's package sleep, which uses internals of the
// runtime. A sleeper waits until one of several wakers wakes it.
package sleep

import (
	"sync"
	"sync/atomic"
)

// Sleeper waits until one of its wakers is asserted. Only one goroutine may call
// Fetch.
type Sleeper struct {
	mu       sync.Mutex
	wake     sync.Cond
	asserted []*Waker // in the order of their assertion
}

// Waker wakes the sleeper that it was added to.
type Waker struct {
	sleeper  *Sleeper
	asserted atomic.Bool
}

// AddWaker adds w to s. It must precede all calls of w.Assert.
func (s *Sleeper) AddWaker(w *Waker) {
	s.wake.L = &s.mu
	w.sleeper = s
}

// Assert wakes the sleeper. Further calls do nothing until the sleeper has fetched w.
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

// Fetch removes and returns the waker that was asserted first. If no waker is asserted,
// it waits for one if block is set, or else returns nil.
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

// Done does nothing: s holds no resource except memory.
func (s *Sleeper) Done() {}
