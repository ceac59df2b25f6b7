//go:build pith

package runtime

import (
	"slices"
	"testing"
)

// seeds runs a test under several schedules.
func seeds(t *testing.T, cpus int, test func(s *sim)) {
	t.Helper()
	for seed := range uint64(10) {
		if test(newSim(t, cpus, seed+1)); t.Failed() {
			t.Fatalf("seed %d", seed+1)
		}
	}
}

// want checks a result.
func want[T comparable](s *sim, what string, got, want T) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: %v instead of %v", what, got, want)
	}
}

func TestRunQueueIsFirstComeFirstServed(t *testing.T) {
	seeds(t, 1, func(s *sim) {
		var order []int
		s.run(func(p *program) {
			for i := range 3 {
				p.clone(func(p *program) {
					for range 2 {
						order = append(order, i)
						p.call(nrSchedYield)
					}
				})
			}
			p.spin(func() bool { p.call(nrSchedYield); return len(order) == 6 })
		})
		if want := []int{0, 1, 2, 0, 1, 2}; !slices.Equal(order, want) {
			t.Errorf("threads ran in the order %v instead of %v", order, want)
		}
	})
}

// A thread that never makes a call loses its vCPU when others wait, and not before
// its slice is over.
func TestTimeSlice(t *testing.T) {
	seeds(t, 1, func(s *sim) {
		var turns []int
		s.run(func(p *program) {
			for i := range 3 {
				p.clone(func(p *program) {
					for from := s.now(); s.now() < from+20_000_000; p.step() {
						if len(turns) == 0 || turns[len(turns)-1] != i {
							turns = append(turns, i)
						}
					}
				})
			}
			p.sleep(100_000_000)
		})
		if len(turns) < 9 || len(turns) > 40 || !slices.Equal(turns[:6], []int{0, 1, 2, 0, 1, 2}) {
			t.Errorf("three threads of 20 ms took turns as %v", turns)
		}
	})
}

// A new thread gets an idle vCPU at once.
func TestIdleCPUTakesANewThread(t *testing.T) {
	seeds(t, 4, func(s *sim) {
		cpus := map[uint32]bool{}
		s.run(func(p *program) {
			p.sleep(1_000_000) // all vCPUs have started
			from := s.now()
			for range 3 {
				p.clone(func(p *program) {
					cpus[p.t.cpu] = true
					p.spin(func() bool { return len(cpus) == 3 })
				})
			}
			p.spin(func() bool { return len(cpus) == 3 })
			if took := s.now() - from; took > vmSlice {
				t.Errorf("three idle vCPUs took three threads after %d ns", took)
			}
		})
	})
}

func TestThreadIDs(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			want(s, "first id", p.call(nrGettid), 1)
			want(s, "process id", p.call(nrGetpid), 1)
			for round := range 5 {
				var ids [3]uintptr
				done, all := 0, false
				for i := range ids {
					ids[i] = p.clone(func(p *program) {
						p.spin(func() bool { return all })
						want(s, "own id", p.call(nrGettid), ids[i])
						want(s, "thread pointer", p.t.tls, p.tls())
						done++
					})
				}
				all = true
				p.spin(func() bool { return done == 3 })
				for _, id := range ids {
					p.await(id, vmDead)
				}
				if slices.Sort(ids[:]); ids != [3]uintptr{2, 3, 4} {
					t.Errorf("round %d: ids %v instead of those of the threads that have ended", round, ids)
				}
			}
			want(s, "threads made", vm.threads, 4)
		})
	})
}

func TestThreadsRunOut(t *testing.T) {
	s := newSim(t, 1, 1)
	vm.threads = vmMaxThreads
	want(s, "clone", vmClone(new(vmThread)), errno(_EAGAIN))
	want(s, "threads", vm.threads, vmMaxThreads)
}

func TestUnknownCall(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(func(p *program) {
		want(s, "call 400", p.call(400), errno(_ENOSYSvm))
		want(s, "call 2000", p.call(2000), errno(_ENOSYSvm))
	})
}

func TestExitCode(t *testing.T) {
	want(newSim(t, 2, 1), "exit code", newSim(t, 2, 1).run(func(p *program) { p.call(nrExitGroup, 7) }), 7)
}

func TestConsole(t *testing.T) {
	s := newSim(t, 1, 1)
	s.run(func(p *program) {
		text := []byte("hello\n")
		want(s, "write", p.call(nrWrite, 1, top(text)-6, 6), 6)
		want(s, "write to descriptor 9", p.call(nrWrite, 9, top(text)-6, 6), errno(_EBADF))
	})
	want(s, "console", string(s.console), "hello\n")
}
