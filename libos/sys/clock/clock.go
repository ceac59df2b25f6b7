package clock

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
)

// Now returns the time of clock id in nanoseconds, or EINVAL. There is no account
// of one thread's CPU time: goroutines have no thread of their own.
func Now(id int) (int64, linux.Errno) {
	switch id {
	case linux.CLOCK_REALTIME, linux.CLOCK_REALTIME_COARSE, linux.CLOCK_TAI:
		sec, nsec := platform.Walltime()
		return sec*1e9 + int64(nsec), 0
	case linux.CLOCK_MONOTONIC, linux.CLOCK_MONOTONIC_RAW, linux.CLOCK_MONOTONIC_COARSE,
		linux.CLOCK_BOOTTIME:
		return platform.Nanotime(), 0
	case linux.CLOCK_PROCESS_CPUTIME_ID, linux.CLOCK_THREAD_CPUTIME_ID:
		return platform.CPUTime(), 0
	}
	return 0, linux.EINVAL
}

func sysTime(a *call.Args) (uintptr, linux.Errno) {
	sec, _ := platform.Walltime()
	if a.A0 != 0 {
		t, errno := call.At[int64](a.A0)
		if errno != 0 {
			return 0, errno
		}
		*t = sec
	}
	return uintptr(sec), 0
}

func sysGettimeofday(a *call.Args) (uintptr, linux.Errno) {
	if a.A0 != 0 {
		tv, errno := call.At[linux.Timeval](a.A0)
		if errno != 0 {
			return 0, errno
		}
		sec, nsec := platform.Walltime()
		*tv = linux.Timeval{Sec: sec, Usec: int64(nsec) / 1e3}
	}
	if a.A1 != 0 { // struct timezone, which is zero on Linux
		tz, errno := call.At[[2]int32](a.A1)
		if errno != 0 {
			return 0, errno
		}
		*tz = [2]int32{}
	}
	return 0, 0
}

func sysClockGettime(a *call.Args) (uintptr, linux.Errno) {
	ns, errno := Now(int(int32(a.A0)))
	if errno != 0 {
		return 0, errno
	}
	ts, errno := call.At[linux.Timespec](a.A1)
	if errno != 0 {
		return 0, errno
	}
	*ts = linux.TimespecOf(ns)
	return 0, 0
}

func sysClockGetres(a *call.Args) (uintptr, linux.Errno) {
	if _, errno := Now(int(int32(a.A0))); errno != 0 {
		return 0, errno
	}
	if a.A1 != 0 {
		ts, errno := call.At[linux.Timespec](a.A1)
		if errno != 0 {
			return 0, errno
		}
		*ts = linux.Timespec{Nsec: 1}
	}
	return 0, 0
}

// sysClockNanosleep is clock_nanosleep(2). No signal ends the sleep, so it never
// reports a remaining time.
func sysClockNanosleep(a *call.Args) (uintptr, linux.Errno) {
	id := int(int32(a.A0))
	now, errno := Now(id)
	if errno != 0 {
		return 0, errno
	}
	if id == linux.CLOCK_PROCESS_CPUTIME_ID || id == linux.CLOCK_THREAD_CPUTIME_ID {
		return 0, linux.EOPNOTSUPP
	}
	ts, errno := call.At[linux.Timespec](a.A2)
	if errno != 0 {
		return 0, errno
	}
	if !ts.Valid() {
		return 0, linux.EINVAL
	}
	ns := ts.Saturated()
	if a.A1&linux.TIMER_ABSTIME != 0 {
		ns -= now
	}
	platform.Sleep(max(ns, 0))
	return 0, 0
}

func sysNanosleep(a *call.Args) (uintptr, linux.Errno) {
	return sysClockNanosleep(&call.Args{A0: linux.CLOCK_MONOTONIC, A2: a.A0})
}

// ticksPerSecond is USER_HZ: times(2) counts in units of 1/USER_HZ seconds.
const ticksPerSecond = 100

func sysTimes(a *call.Args) (uintptr, linux.Errno) {
	const tick = 1e9 / ticksPerSecond
	if a.A0 != 0 {
		t, errno := call.At[linux.Tms](a.A0)
		if errno != 0 {
			return 0, errno
		}
		*t = linux.Tms{Utime: platform.CPUTime() / tick}
	}
	return uintptr(platform.Nanotime() / tick), 0
}

// realTimer is ITIMER_REAL, which sends SIGALRM. alarm(2) sets it as well.
var realTimer struct {
	sync.Mutex
	timer    *platform.Timer
	next     int64 // on the monotonic clock, in nanoseconds; 0: not set
	interval int64 // nanoseconds
}

// setRealTimer sets the timer and returns its old setting. All are in nanoseconds.
func setRealTimer(value, interval int64) (oldValue, oldInterval int64) {
	t := &realTimer
	t.Lock()
	defer t.Unlock()
	oldValue, oldInterval = remainingRealTime()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	t.next, t.interval = 0, 0
	if value > 0 {
		t.next, t.interval = linux.AddSaturated(platform.Nanotime(), value), interval
		startRealTimer(value)
	}
	return oldValue, oldInterval
}

// remainingRealTime returns what getitimer(2) does, in nanoseconds, with realTimer
// locked.
func remainingRealTime() (value, interval int64) {
	t := &realTimer
	if t.next == 0 {
		return 0, 0
	}
	return max(t.next-platform.Nanotime(), 1e3), t.interval
}

// startRealTimer arms the timer for ns nanoseconds from now, with realTimer locked.
func startRealTimer(ns int64) {
	t := &realTimer
	var timer *platform.Timer
	timer = platform.AfterFunc(ns, func() {
		t.Lock()
		if t.timer != timer { // stopped or set again meanwhile
			t.Unlock()
			return
		}
		t.timer, t.next = nil, 0
		if t.interval > 0 {
			t.next = platform.Nanotime() + t.interval
			startRealTimer(t.interval)
		}
		t.Unlock()
		platform.Raise(linux.SIGALRM)
	})
	t.timer = timer
}

// sysAlarm is alarm(2). It returns the seconds that were left, rounded to the nearest
// but not to zero.
func sysAlarm(a *call.Args) (uintptr, linux.Errno) {
	old, _ := setRealTimer(int64(uint32(a.A0))*1e9, 0)
	if old > 0 && old < 1e9/2 {
		old = 1e9
	}
	return uintptr((old + 1e9/2) / 1e9), 0
}

func sysGetitimer(a *call.Args) (uintptr, linux.Errno) {
	if int(int32(a.A0)) < linux.ITIMER_REAL || int(int32(a.A0)) > linux.ITIMER_PROF {
		return 0, linux.EINVAL
	}
	out, errno := call.At[linux.Itimerval](a.A1)
	if errno != 0 {
		return 0, errno
	}
	*out = linux.Itimerval{}
	if a.A0 == linux.ITIMER_REAL {
		realTimer.Lock()
		value, interval := remainingRealTime()
		realTimer.Unlock()
		*out = linux.Itimerval{Value: linux.TimevalOf(value), Interval: linux.TimevalOf(interval)}
	}
	return 0, 0
}

// sysSetitimer is setitimer(2). Only the runtime's profiler has timers of CPU time.
func sysSetitimer(a *call.Args) (uintptr, linux.Errno) {
	which := int(int32(a.A0))
	if which < linux.ITIMER_REAL || which > linux.ITIMER_PROF {
		return 0, linux.EINVAL
	}
	if which != linux.ITIMER_REAL {
		return 0, linux.ENOSYS
	}
	var set linux.Itimerval
	if a.A1 != 0 {
		v, errno := call.At[linux.Itimerval](a.A1)
		if errno != 0 {
			return 0, errno
		}
		set = *v
	}
	for _, tv := range []linux.Timeval{set.Value, set.Interval} {
		if tv.Sec < 0 || tv.Usec < 0 || tv.Usec >= 1e6 {
			return 0, linux.EINVAL
		}
	}
	value, interval := setRealTimer(set.Value.Saturated(), set.Interval.Saturated())
	if a.A2 != 0 {
		old, errno := call.At[linux.Itimerval](a.A2)
		if errno != 0 {
			return 0, errno
		}
		*old = linux.Itimerval{Value: linux.TimevalOf(value), Interval: linux.TimevalOf(interval)}
	}
	return 0, 0
}
