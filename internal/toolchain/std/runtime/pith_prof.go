//go:build pith

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// The CPU profiler's clock. There are no interval timers below the runtime. Instead, a thread
// without a P, like sysmon, reads the CPU clocks of the threads that run Go code. For each
// period that a thread has used it sends SIGPROF, as the thread's timer does on Linux.

var pithprof struct {
	hz      uint32 // atomic; 0: the thread sleeps
	started bool   // guarded by the profiler's locks (prof.signalLock, cpuprof.lock)
}

// pithprofm is a thread's part of it, in m.mOS.
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

// pithprofdue returns the CPU time of the first sample of a thread that has used the time
// used. As with Linux's timers it is a random point of a period, so that a thread that runs
// for a tenth of a period is sampled with a probability of a tenth.
func pithprofdue(used, period int64) int64 {
	return used + 1 + int64(cheaprandn(uint32(period)))
}

// validSIGPROF reports, in the handler, whether the signal is a sample: only the first one in
// a period is. If the profiler's thread had to wait long for a CPU, the thread may have used
// more periods meanwhile. It is then sampled again at once.
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

// pithcputime returns the CPU time of a thread in nanoseconds, by the clock that
// pthread_getcpuclockid(3) names.
func pithcputime(tid uint64) int64 {
	var t timespec
	clock := uint32(^int32(tid)<<3 | 6)
	if pithhostcall(nrClockGettime, uintptr(clock), uintptr(noescape(unsafe.Pointer(&t))), 0, 0, 0, 0) != 0 {
		return 0
	}
	return t.tv_sec*1e9 + t.tv_nsec
}

// pithprofthread never returns.
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
		// Look about twice in a period, but soon enough to see a change of hz. Vary the
		// time: in step with sysmon the profile would show its preemptions only.
		period := int64(1e9 / hz)
		us := uint32(min(period, 2e7) / 1e3)
		usleep(us/4 + cheaprandn(us/2+1))
		pithprofsample(period, begin)
		begin = false
	}
}

// pithprofsample signals the threads that are due. In a new profile none is: the time that
// threads used before is not part of it.
//
//go:nowritebarrierrec
func pithprofsample(period int64, begin bool) {
	lock(&sched.lock) // for allm to stay
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
