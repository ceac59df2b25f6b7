//go:build pith

package runtime

// vmclock makes nanoseconds of the TSC. vmclockgettime reads it: see the
// offsets below.
var vmclock struct {
	base uintptr // the TSC at the start
	mult uintptr // nanoseconds a tick, times 1<<32
	wall int64   // of the start, since the Unix epoch
}

const (
	clockBase = 0
	clockMult = 8
	clockWall = 16
)

//go:nosplit
func vmClockStart(khz uintptr) {
	if khz == 0 {
		khz = 1000000
	}
	vmclock.base = vmcounter()
	vmclock.mult = 1000000 << 32 / khz
}

// vmNow is the monotonic clock in nanoseconds.
//
//go:nosplit
func vmNow() int64 { return int64(vmscale(vmcounter()-vmclock.base, vmclock.mult)) + 1 }

// vmTimer are the arguments of the nucleus for a timer that ends at until: the
// TSC's value, and nanoseconds from now, which is what the APIC's own clock
// counts (see measure).
//
//go:nosplit
func vmTimer(until int64) (tsc, ticks uintptr) {
	ns := max(until-vmNow(), 1000)
	// Longer than this, and it is set again when it fires.
	ns = min(ns, 4e9)
	return vmcounter() + uintptr(ns)<<32/vmclock.mult + 1, uintptr(ns)
}

// vmNanosleep is nanosleep(2), by which only the runtime sleeps: it looks after
// its threads, from each 20 microseconds on. Where the nucleus is interpreted, a
// timer costs more than that, so the sleep is as long there as the longest of
// those (PR_SET_TIMERSLACK in prctl(2) is Linux's way); one that is shorter than
// a timer takes anywhere is a yield, as the runtime has it where timers are
// coarse.
//
//go:nosplit
func vmNanosleep(t *vmThread, ns int64) *vmThread {
	const shortest, slack = 10e3, 10e6
	if vmInterpreted() {
		if ns < shortest {
			t.setResult(0)
			if vm.head == nil {
				return t
			}
			return vmYield(t)
		}
		ns = max(ns, slack)
	}
	if t.signalled() {
		t.setResult(vmErr(_EINTR))
		return t
	}
	t.state = vmSleep
	vmSleepUntil(t, vmNow()+max(ns, 1))
	return vmSwitch(t)
}

// vmClock reads clock id of clock_gettime(2) for thread t.
//
//go:nosplit
func vmClock(t *vmThread, id uintptr) (ns int64, ok bool) {
	const realtime, monotonic, process, thread, raw, coarse, monotonicCoarse, boottime = 0, 1, 2, 3, 4, 5, 6, 7
	now := vmNow()
	if clock := int32(id); clock < 0 { // of a thread: pthread_getcpuclockid(3)
		t = vmThreadOf(^(clock >> 3))
		if clock&7 != 6 || t == nil {
			return 0, false
		}
		return t.cpuTime(now), true
	}
	switch {
	case id == realtime || id == coarse:
		return now + vmclock.wall, true
	case id == monotonic || id == raw || id == monotonicCoarse || id == boottime:
		return now, true
	case id == thread:
		return t.cpuTime(now), true
	case id == process:
		sum := int64(0)
		for i := range vm.threads {
			if o := vmThreadOf(int32(i + 1)); o != nil {
				sum += o.cpuTime(now)
			}
		}
		return sum + vm.usedByDead, true
	}
	return 0, false
}

// cpuTime is the CPU time that t has used.
//
//go:nosplit
func (t *vmThread) cpuTime(now int64) int64 {
	if t.state == vmRunning {
		return t.used + now - t.since
	}
	return t.used
}

// vmWallStart takes the time of day from the boot parameters, or else from the
// virtual machine's clock, which gives seconds.
//
//go:nosplit
func vmWallStart() {
	line := vmSharedPage().parameters()
	if at := line.number("time="); at != 0 {
		vmclock.wall = int64(at) + int64(vmscale(vmclock.base-line.number("tsc="), vmclock.mult))
		return
	}
	year, month, day, hour, min, sec, ok := vmTimeOfDay()
	if !ok {
		return
	}
	// Days since the epoch (H. S. Warren's and many others' formula, with
	// years that begin in March).
	y, m := int64(year), int64(month)
	if m <= 2 {
		y--
		m += 12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + int64(day) - 1 - 719468
	vmclock.wall = ((days*24+int64(hour))*60+int64(min))*60e9 + int64(sec)*1e9 - vmNow()
}
