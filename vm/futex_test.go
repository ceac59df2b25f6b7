//go:build pith

package runtime

import (
	"slices"
	"testing"
	"time"
)

func TestFutexWaitComparesTheValue(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(func(p *program) {
		word := uint32(3)
		want(s, "wait for another value", p.futexWait(&word, 4, 0), errno(_EAGAIN))
		want(s, "wake nobody", p.futexWake(&word, 1), 0)
		want(s, "unknown operation", p.call(nrFutex, 0, 9), errno(_ENOSYSvm))
	})
}

// FUTEX_WAKE wakes as many as it is asked for, in the order in which they came, and
// none that waits for another address, even in the same queue.
func TestFutexWakesInOrder(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		var words [1024]uint32
		word, other := &words[0], &words[64*8/4] // the same queue
		var order []int
		otherWoke := false
		s.run(func(p *program) {
			last := p.clone(func(p *program) { p.futexWait(other, 0, 0); otherWoke = true })
			p.await(last, vmFutexWait)
			for i := range 5 {
				last = p.clone(func(p *program) {
					want(s, "wait", p.futexWait(word, 0, 0), 0)
					order = append(order, i)
				})
				p.await(last, vmFutexWait)
			}
			for n, most := range []uintptr{1, 1, 0, 1, 100} {
				before := len(order)
				woken := p.futexWake(word, most)
				if want := min(most, uintptr(5-before)); woken != want {
					t.Errorf("wake %d of %d threads: %d woken", most, 5-before, woken)
				}
				p.spin(func() bool { return len(order) == before+int(woken) })
				if n < 4 && !slices.IsSorted(order) {
					t.Errorf("threads woke in the order %v", order)
				}
			}
			want(s, "the thread of another address woke", otherWoke, false)
			want(s, "wake it", p.futexWake(other, 1), 1)
			p.spin(func() bool { return otherWoke })
		})
	})
}

func TestFutexTimeout(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var word uint32
			for _, ns := range []int64{-1, 1000, 5_000_000, 6_000_000_000} {
				from := s.now()
				want(s, "wait", p.futexWait(&word, 0, ns), errno(_ETIMEDOUT))
				took := int64(s.now() - from)
				if took < ns || took > max(ns, 0)+1_000_000 {
					t.Errorf("a wait of %d ns took %d", ns, took)
				}
			}
			want(s, "wake nobody", p.futexWake(&word, 1), 0)
		})
	})
}

// Deadlines end in their order, whatever the order in which they were set.
func TestDeadlinesEndInOrder(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		var order []int
		var words [8]uint32
		s.run(func(p *program) {
			for _, i := range []int{5, 2, 7, 1, 3, 6, 4} {
				p.clone(func(p *program) {
					if i%2 == 0 {
						p.sleep(int64(i) * 10_000_000)
					} else {
						want(s, "wait", p.futexWait(&words[i], 0, int64(i)*10_000_000), errno(_ETIMEDOUT))
					}
					order = append(order, i)
				})
			}
			p.sleep(200_000_000)
		})
		if !slices.Equal(order, []int{1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("deadlines ended in the order %v", order)
		}
	})
}

// A thread that is woken has no deadline left, so a later wait is not cut short.
func TestWakeTakesTheDeadlineAway(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			var word, done uint32
			waiter := p.clone(func(p *program) {
				want(s, "wait", p.futexWait(&word, 0, 10_000_000), 0)
				from := s.now()
				want(s, "wait again", p.futexWait(&word, 0, 50_000_000), errno(_ETIMEDOUT))
				if took := s.now() - from; took < 50_000_000 {
					t.Errorf("the second wait took %d ns", took)
				}
				done = 1
				p.futexWake(&done, 1)
			})
			p.await(waiter, vmFutexWait)
			want(s, "wake", p.futexWake(&word, 1), 1)
			p.futexWait(&done, 0, 0)
		})
	})
}

// On a host that interprets the nucleus, a short sleep is a yield and a longer one is
// as long as the timer slack.
func TestSleepOnASlowHost(t *testing.T) {
	seeds(t, 1, func(s *sim) {
		vmSharedPage().faultgate = true
		s.run(func(p *program) {
			others := 0
			p.clone(func(p *program) {
				for range 3 {
					others++
					p.call(nrSchedYield)
				}
			})
			for n := range 3 {
				want(s, "others ran", others, n)
				want(s, "sleep", p.sleep(5000), 0)
			}
			from := s.now()
			p.sleep(20_000)
			if took := time.Duration(s.now() - from); took < 10*time.Millisecond {
				t.Errorf("a sleep of 20 µs took %v", took)
			}
		})
	})
}
