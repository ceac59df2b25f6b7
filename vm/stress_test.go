//go:build pith

package runtime

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// futexMutex is a lock as the runtime's (lock_futex.go): a wake that is lost leaves
// its threads waiting.
type futexMutex struct {
	state uint32 // 0: free, 1: held, 2: held, and threads wait
	count int    // under the lock
}

func (m *futexMutex) lock(p *program) {
	if atomic.CompareAndSwapUint32(&m.state, 0, 1) {
		return
	}
	for atomic.SwapUint32(&m.state, 2) != 0 {
		p.futexWait(&m.state, 2, 0)
	}
}

func (m *futexMutex) unlock(p *program) {
	if atomic.SwapUint32(&m.state, 0) == 2 {
		p.futexWake(&m.state, 1)
	}
}

// workload is a program of many threads. Each makes random calls on what they share;
// at the end every thread has done all its work, which needs every wake.
type workload struct {
	s        *sim
	locks    [3]futexMutex
	notes    [4]uint32
	handled  atomic.Int64
	sent     atomic.Int64
	done     uint32
	locked   atomic.Int64
	children atomic.Int64
	ended    atomic.Bool // the poller has
}

// stress runs n threads that make rounds calls each.
func (s *sim) stress(n, rounds int, seed uint64) {
	w := &workload{s: s}
	code := s.run(func(p *program) {
		p.handler(sigUsr1, vmSAOnStack, 0, func(h *program, _ signal) {
			h.step()
			w.handled.Add(1)
		})
		p.epollAdd(1, vmFDWake)
		p.epollAdd(2, vmFDIRQ+simVector)
		stop := new(atomic.Bool)
		p.clone(func(p *program) { w.poll(p, stop) })
		var ids []uintptr
		for i := range n {
			id := p.clone(func(p *program) {
				r := rand.New(rand.NewPCG(seed, uint64(i)))
				for range rounds {
					w.act(p, r)
				}
				atomic.AddUint32(&w.done, 1)
				p.futexWake(&w.done, 1)
			})
			ids = append(ids, id)
		}
		for done := uint32(0); done < uint32(n); done = atomic.LoadUint32(&w.done) {
			// Signals to whom they reach, dead threads too.
			w.sent.Add(1)
			p.kill(ids[int(done)%n], sigUsr1)
			p.futexWait(&w.done, done, 300_000)
		}
		stop.Store(true)
		v := uint64(1)
		p.eventfd(nrWrite, &v)
		p.spin(func() bool { return w.ended.Load() })
	})
	want(s, "exit code", code, 0)
	locked := 0
	for i := range w.locks {
		locked += w.locks[i].count
	}
	want(s, "times that a lock was held", locked, int(w.locked.Load()))
	if s.t.Failed() {
		return
	}
	if w.handled.Load() == 0 || w.children.Load() == 0 || w.locked.Load() == 0 {
		s.t.Errorf("of %d signals %d were handled; %d threads made; locks held %d times", w.sent.Load(), w.handled.Load(), w.children.Load(), w.locked.Load())
	}
}

// poll is the poller's thread: it reads the eventfd as often as it is ready.
func (w *workload) poll(p *program, stop *atomic.Bool) {
	var events [2]epollEvent
	for !stop.Load() {
		n := p.epollWait(events[:], 5)
		if n > 2 {
			if n != errno(_EINTR) {
				w.s.fail("epoll_pwait: %d", int(n))
			}
			continue
		}
		for _, e := range events[:n] {
			if e.data[0] == 1 {
				v := uint64(0)
				p.eventfd(nrRead, &v)
			}
		}
	}
	w.ended.Store(true)
}

// act makes one random call.
func (w *workload) act(p *program, r *rand.Rand) {
	switch r.IntN(10) {
	case 0, 1, 2:
		m := &w.locks[r.IntN(len(w.locks))]
		m.lock(p)
		m.count++
		if r.IntN(2) == 0 {
			p.step()
		}
		m.unlock(p)
		w.locked.Add(1)
	case 3:
		// A wait with a deadline; somebody may wake it first.
		note := &w.notes[r.IntN(len(w.notes))]
		switch got := p.futexWait(note, 0, 1+r.Int64N(200_000)); got {
		case 0, errno(_ETIMEDOUT), errno(_EINTR), errno(_EAGAIN):
		default:
			w.s.fail("futex_wait: %d", int(got))
		}
	case 4:
		p.futexWake(&w.notes[r.IntN(len(w.notes))], 1+uintptr(r.IntN(3)))
	case 5:
		p.call(nrSchedYield)
	case 6:
		p.sleep(r.Int64N(50_000))
	case 7:
		v := uint64(1)
		p.eventfd(nrWrite, &v)
		w.s.interrupt(simVector)
	case 8:
		w.sent.Add(1)
		p.kill(1+uintptr(r.IntN(12)), sigUsr1)
	case 9:
		// A thread that ends at once: its id and its memory are used again.
		var ended uint32
		for p.clone(func(p *program) {
			atomic.StoreUint32(&ended, 1)
			p.futexWake(&ended, 1)
		}) == errno(_EAGAIN) {
			p.call(nrSchedYield)
		}
		w.children.Add(1)
		for atomic.LoadUint32(&ended) == 0 {
			p.futexWait(&ended, 0, 0)
		}
	}
}

// Many schedules of one workload, each step checked.
func TestSimulatedStress(t *testing.T) {
	end := time.Now().Add(2 * time.Second)
	for seed := uint64(1); seed <= 1000 && (seed <= 10 || time.Now().Before(end)); seed++ {
		s := newSim(t, 1+int(seed%4), seed)
		if s.stress(6, 30, seed); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// The same workload on vCPUs that run in parallel. Another goroutine takes the lock
// from time to time and checks what it protects.
func TestParallelStress(t *testing.T) {
	for round := range uint64(4) {
		s := newSim(t, 2+int(round), 0)
		checked := make(chan int)
		go func() {
			n := 0
			defer func() { checked <- n }()
			for {
				select {
				case <-s.ended:
					return
				case <-time.After(100 * time.Microsecond):
				}
				for vmxchg(&vm.lock, 1) != 0 {
					select {
					case <-s.ended:
						return
					default:
						runtime.Gosched()
					}
				}
				problem := s.checkThreads()
				vmxchg(&vm.lock, 0)
				if problem != "" {
					s.fail("%s", problem)
				}
				n++
			}
		}()
		s.stress(8, 800, round+1)
		if n := <-checked; n == 0 {
			t.Error("the state was never checked")
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}
