//go:build pith

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// This file is the CPU profiler's clock. The platforms have no interval timers. Instead, a
// thread without a P, like sysmon, reads the CPU clocks of the threads that run Go code. It
// sends a thread SIGPROF for each period of CPU time, as the thread's timer does on Linux.

var pithprof struct {
	hz      uint32 // atomic; 0: the thread sleeps
	started bool   // guarded by the profiler's locks (prof.signalLock, cpuprof.lock)
}

// pithprofm is the profiler's state of a thread, in m.mOS.
type pithprofm struct {
	due  atomic.Int64 // CPU time of the next sample; 0: not sampled
	seen int64        // CPU time when the profiler's thread last looked
}

func setProcessCPUProfiler(hz int32) {
	atomic.Store(&pithprof.hz, uint32(hz))
	if hz == 0 {
		return
	}
	if !pithprof.started {
		pithprof.started = true
		systemstack(func() { newm(pithprofthread, nil, -1) })
	} else {
		futexwakeup(&pithprof.hz, 1)
	}
}

func setThreadCPUProfiler(hz int32) {
	mp := getg().m
	mp.profilehz = hz
	if hz == 0 {
		mp.pithprof.due.Store(0)
		return
	}
	mp.pithprof.due.Store(pithprofdue(pithcputime(mp.procid), 1e9/int64(hz)))
}

// pithprofdue returns the CPU time of the first sample of a thread. used is the thread's CPU
// time so far. As with Linux's timers, the sample is at a random point of a period. So a
// thread that runs for a tenth of a period gets a sample with a probability of a tenth.
func pithprofdue(used, period int64) int64 {
	return used + 1 + int64(cheaprandn(uint32(period)))
}

// validSIGPROF reports whether a signal is a sample. The signal handler calls it. Only the
// first signal in a period is a sample. If the profiler's thread has waited long for a CPU,
// the sampled thread may have used several periods. It then gets the next sample at once.
//
//go:nosplit
func validSIGPROF(mp *m, c *sigctxt) bool {
	hz := atomic.Load(&pithprof.hz)
	if mp == nil || hz == 0 {
		return true // not the profiler's
	}
	due := mp.pithprof.due.Load()
	if due == 0 {
		return true
	}
	used, next := pithcputime(mp.procid), due+int64(1e9/hz)
	if used < due || !mp.pithprof.due.CompareAndSwap(due, next) {
		return false
	}
	if used >= next {
		signalM(mp, _SIGPROF)
	}
	return true
}

// pithcputime returns the CPU time of a thread in nanoseconds. It reads the thread's CPU
// clock (pthread_getcpuclockid(3)).
func pithcputime(tid uint64) int64 {
	var t timespec
	clock := uint32(^int32(tid)<<3 | 6)
	if pithhostcall(nrClockGettime, uintptr(clock), uintptr(noescape(unsafe.Pointer(&t))), 0, 0, 0, 0) != 0 {
		return 0
	}
	return t.tv_sec*1e9 + t.tv_nsec
}

// pithprofthread is the main function of the profiler's thread. It never returns.
//
//go:nowritebarrierrec
func pithprofthread() {
	lock(&sched.lock)
	sched.nmsys++
	checkdead()
	unlock(&sched.lock)
	begin := true
	for {
		hz := atomic.Load(&pithprof.hz)
		if hz == 0 {
			futexsleep(&pithprof.hz, 0, -1)
			begin = true
			continue
		}
		// Check about twice in a period, but soon enough to see a change of hz. Vary the
		// interval: in step with sysmon, the profile would show only its preemptions.
		period := int64(1e9 / hz)
		us := uint32(min(period, 2e7) / 1e3)
		usleep(us/4 + cheaprandn(us/2+1))
		pithprofsample(period, begin)
		begin = false
	}
}

// pithprofsample signals the threads that have a sample due. If begin is set, a profile starts.
// Then it signals no thread, because earlier CPU time is not part of the profile.
//
//go:nowritebarrierrec
func pithprofsample(period int64, begin bool) {
	lock(&sched.lock) // keeps allm unchanged
	for mp := allm; mp != nil; mp = mp.alllink {
		p := &mp.pithprof
		due := p.due.Load()
		if due == 0 {
			continue
		}
		used := pithcputime(mp.procid)
		ran := used != p.seen
		p.seen = used
		switch {
		case begin:
			p.due.CompareAndSwap(due, pithprofdue(used, period))
		case ran && used >= due:
			signalM(mp, _SIGPROF)
		}
	}
	unlock(&sched.lock)
}
