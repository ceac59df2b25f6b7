//go:build pith

package runtime

import "internal/runtime/atomic"

// The CPU profiler's clock. There are no interval timers below the runtime: a
// thread of ours without a P, as sysmon is one, sends SIGPROF to the threads
// that hold a running P. A thread is sampled by the wall clock while it runs,
// so on an overcommitted host the time that it waits for a CPU counts too.

var pithprof struct {
	hz      uint32 // atomic; the thread sleeps while it is 0
	started bool   // under the profiler's own lock (prof.signalLock, cpuprof.lock)
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

func setThreadCPUProfiler(hz int32) { getg().m.profilehz = hz }

// pithprofthread never returns.
//
//go:nowritebarrierrec
func pithprofthread() {
	lock(&sched.lock)
	sched.nmsys++
	checkdead()
	unlock(&sched.lock)
	for {
		hz := atomic.Load(&pithprof.hz)
		if hz == 0 {
			futexsleep(&pithprof.hz, 0, -1)
			continue
		}
		// Not in step with sysmon, whose preemptions would be all it sees.
		period := max(1e6/hz, 1)
		usleep(period/2 + cheaprandn(period))
		lock(&allpLock)
		for _, pp := range allp {
			if pp == nil || pp.status != _Prunning {
				continue
			}
			if mp := pp.m.ptr(); mp != nil {
				signalM(mp, _SIGPROF)
			}
		}
		unlock(&allpLock)
	}
}
