//go:build pith

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

// The CPU profiler's clock. There are no interval timers below the runtime: a
// thread of ours without a P, as sysmon is one, reads the CPU clocks of the
// threads that run Go code and sends SIGPROF for each period that one has used,
// as the timers would that the runtime makes for them on Linux.

var pithprof struct {
	hz      uint32 // atomic; the thread sleeps while it is 0
	started bool   // under the profiler's own lock (prof.signalLock, cpuprof.lock)
}

// pithprofm is what a thread (m.mOS) has of it.
type pithprofm struct {
	due  atomic.Int64 // its CPU time at the next sample; 0: it is not sampled
	seen int64        // its CPU time when the profiler's thread last looked
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

// pithprofdue is when a thread that has used CPU time used is sampled first. As
// with Linux's timers it is anywhere in a period, so that a thread that runs for
// a tenth of one is seen with a chance of a tenth.
func pithprofdue(used, period int64) int64 {
	return used + 1 + int64(cheaprandn(uint32(period)))
}

// validSIGPROF says, in the handler, whether the signal is a sample: of several
// for the same period the first. A thread that has used more periods since, for
// the profiler's own waited long for a CPU, is sampled once more at once.
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

// pithcputime is the CPU time in nanoseconds of a thread: clock_gettime(2) of
// the clock that pthread_getcpuclockid(3) would name.
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
		// Twice in a period, and not in step with sysmon, whose preemptions
		// would be all it sees; but soon enough for a change of hz.
		period := int64(1e9 / hz)
		us := uint32(min(period, 2e7) / 1e3)
		usleep(us/4 + cheaprandn(us/2+1))
		pithprofsample(period, begin)
		begin = false
	}
}

// pithprofsample signals the threads that are due. A new profile begins with
// none: what a thread used before is not in it.
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
