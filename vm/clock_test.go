//go:build pith

package runtime

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	clockRealtime, clockMonotonic, clockProcess, clockThread = 0, 1, 2, 3
)

// A correction of the time of day moves the wall clock, and not the monotonic one.
func TestCorrectionLeavesTheMonotonicClock(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			last := p.time(clockMonotonic)
			for _, wall := range []int64{1_700_000_000e9, 1_600_000_000e9, 1_800_000_000e9} {
				want(s, "set", p.call(platformSetWall, uintptr(wall)), 0)
				got := p.time(clockRealtime)
				if got < wall || got > wall+1_000_000 {
					t.Errorf("time of day %d after it was set to %d", got, wall)
				}
				now := p.time(clockMonotonic)
				if now < last || now > last+1_000_000 {
					t.Errorf("the monotonic clock went from %d to %d", last, now)
				}
				last = now
			}
			want(s, "clock 99", p.time(99), -_EINVAL)
		})
	})
}

// The boot parameters have the time of day, and the counter's value at that time.
func TestTimeOfTheBootParameters(t *testing.T) {
	s := newSim(t, 1, 1)
	s.clock.Store(5_000_000_000)
	s.parameters("time=1700000000000000000 tsc=2000000000 cpus=1")
	s.run(func(p *program) {
		if got := p.time(clockRealtime) - 1_700_000_003e9; got < 0 || got > 1_000_000 {
			t.Errorf("time of day is %d ns off", got)
		}
	})
}

func TestTimeOfTheCMOSClock(t *testing.T) {
	want := time.Date(2026, 2, 28, 23, 59, 58, 0, time.UTC)
	for _, binary := range []bool{false, true} {
		s := newSim(t, 1, 1)
		put := func(register uintptr, v int) {
			if !binary {
				v = v/10<<4 | v%10
			}
			s.cmos[register] = uintptr(v)
		}
		for register, v := range map[uintptr]int{0: 58, 2: 59, 4: 23, 7: 28, 8: 2, 9: 26} {
			put(register, v)
		}
		if binary {
			s.cmos[11] = 4
		}
		s.run(func(p *program) {
			if got := p.time(clockRealtime) - want.UnixNano(); got < 0 || got > 1_000_000 {
				t.Errorf("binary %v: time of day is %d ns off", binary, got)
			}
		})
	}
}

// The CPU time of a thread is the time that it runs; that of the process is the sum,
// those that have ended included.
func TestCPUTime(t *testing.T) {
	seeds(t, 2, func(s *sim) {
		s.run(func(p *program) {
			const busy = 10_000_000
			var ended uint32
			start := p.time(clockProcess)
			worker := p.clone(func(p *program) {
				p.sleep(20_000_000)
				for from := p.time(clockThread); p.time(clockThread) < from+busy; {
				}
				id := ^int32(p.call(nrGettid))<<3 | 6
				if own, other := p.time(clockThread), p.time(id); other < own || other > own+1_000_000 {
					t.Errorf("CPU time %d, and %d by the thread's id", own, other)
				}
				atomic.StoreUint32(&ended, 1)
				p.futexWake(&ended, 1)
			})
			p.futexWait(&ended, 0, 0)
			p.await(worker, vmDead)
			used := p.time(clockProcess) - start
			if used < busy || used > busy+5_000_000 {
				t.Errorf("the process used %d ns, of which a thread %d", used, busy)
			}
			want(s, "clock of a thread that has ended", p.time(^int32(worker)<<3|6), -_EINVAL)
		})
	})
}

// The function by which the runtime reads the clock counts as vmNow does.
func TestRuntimesClock(t *testing.T) {
	newSim(t, 1, 1)
	for _, khz := range []uintptr{0, 1_000_000, 2_999_871} {
		vmClockStart(khz)
		vmclock.base = 0
		var ts [2]timespec
		vmclock.wall = 1_700_000_000e9
		for range 100 {
			readClock(1, &ts[0])
			readClock(0, &ts[1])
			between := ts[1].tv_sec*1e9 + ts[1].tv_nsec - vmclock.wall - ts[0].tv_sec*1e9 - ts[0].tv_nsec
			if between < 0 || between > 1e9 || ts[0].tv_nsec >= 1e9 {
				t.Fatalf("%d kHz: monotonic %v, then time of day %v, started at %d", khz, ts[0], ts[1], vmclock.wall)
			}
		}
		wantMult := uintptr(1e6 * (1 << 32) / float64(max(khz, 1)))
		if khz != 0 && vmclock.mult != wantMult {
			t.Errorf("%d kHz: %d nanoseconds a tick, times 1<<32, instead of %d", khz, vmclock.mult, wantMult)
		}
	}
}

// No CPU reads a time before one that another CPU has read and passed on.
func TestClockIsOneForAllCPUs(t *testing.T) {
	newSim(t, 1, 1)
	vmclock.mult = 1 << 32 // ticks
	type cell struct {
		ns atomic.Int64 // the last reading of its writer
		_  [120]byte    // a cache line of its own
	}
	cells := make([]cell, max(2, runtime.NumCPU()))
	var backwards, worst atomic.Int64
	var wg sync.WaitGroup
	for i := range cells {
		wg.Go(func() {
			var ts timespec
			for end := time.Now().Add(time.Second / 2); time.Now().Before(end); {
				for range 1000 {
					known := cells[(i+1)%len(cells)].ns.Load()
					readClock(1, &ts)
					now := ts.tv_sec*1e9 + ts.tv_nsec
					if now < known {
						backwards.Add(1)
						worst.Store(max(worst.Load(), known-now))
					}
					cells[i].ns.Store(now)
				}
			}
		})
	}
	wg.Wait()
	if n := backwards.Load(); n != 0 {
		t.Errorf("%d readings were before one that was known already, by up to %d ticks", n, worst.Load())
	}
}
