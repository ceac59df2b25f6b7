//go:build pith

package runtime

// vmclock converts the CPU's counter to nanoseconds. vmclockgettime reads it in
// assembly, by the offsets below.
var vmclock struct {
	base uintptr // value of the counter at the start
	mult uintptr // nanoseconds per tick, times 1<<32
	wall int64   // time of the start in nanoseconds since the Unix epoch
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

// vmNow returns the monotonic clock in nanoseconds. It is never 0.
//
//go:nosplit
func vmNow() int64 { return int64(vmscale(vmcounter()-vmclock.base, vmclock.mult)) + 1 }

// vmTimer returns the arguments of callWait and callArm for a timer that fires at until:
// the counter's value then, and the timer's own ticks, which are nanoseconds (see
// compare in the nucleus).
//
//go:nosplit
func vmTimer(until int64) (tsc, ticks uintptr) {
	ns := max(until-vmNow(), 1000)
	// A longer wait sets the timer again when it fires.
	ns = min(ns, 4e9)
	return vmcounter() + uintptr(ns)<<32/vmclock.mult + 1, uintptr(ns)
}

// vmNanosleep is nanosleep(2). Only the runtime calls it: sysmon sleeps for 20
// microseconds and more between its looks at the threads, up to 10 milliseconds.
//
// Where the host interprets the nucleus, a timer costs more than 20 microseconds. There
// each sleep takes the longest of those times (Linux's way for that is PR_SET_TIMERSLACK,
// prctl(2)). A sleep that is shorter than setting a timer anywhere becomes a yield, as the
// runtime does where timers are coarse.
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

// vmClock reads the clock id of clock_gettime(2) for thread t, in nanoseconds.
//
//go:nosplit
func vmClock(t *vmThread, id uintptr) (ns int64, ok bool) {
	const realtime, monotonic, process, thread, raw, coarse, monotonicCoarse, boottime = 0, 1, 2, 3, 4, 5, 6, 7
	now := vmNow()
	if clock := int32(id); clock < 0 { // a thread's CPU time: pthread_getcpuclockid(3)
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

// cpuTime returns the CPU time that t has used, in nanoseconds.
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
	// Days since the epoch, with years that begin in March.
	y, m := int64(year), int64(month)
	if m <= 2 {
		y--
		m += 12
	}
	days := 365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + int64(day) - 1 - 719468
	vmclock.wall = ((days*24+int64(hour))*60+int64(min))*60e9 + int64(sec)*1e9 - vmNow()
}
