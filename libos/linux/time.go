package linux

// Clocks (include/uapi/linux/time.h).
const (
	CLOCK_REALTIME           = 0
	CLOCK_MONOTONIC          = 1
	CLOCK_PROCESS_CPUTIME_ID = 2
	CLOCK_THREAD_CPUTIME_ID  = 3
	CLOCK_MONOTONIC_RAW      = 4
	CLOCK_REALTIME_COARSE    = 5
	CLOCK_MONOTONIC_COARSE   = 6
	CLOCK_BOOTTIME           = 7
	CLOCK_REALTIME_ALARM     = 8
	CLOCK_BOOTTIME_ALARM     = 9
	CLOCK_TAI                = 11
)

// TIMER_ABSTIME makes the time of clock_nanosleep(2) absolute.
const TIMER_ABSTIME = 1

// Timers of setitimer(2).
const (
	ITIMER_REAL    = 0
	ITIMER_VIRTUAL = 1
	ITIMER_PROF    = 2
)

// Itimerval is struct itimerval (setitimer(2)).
type Itimerval struct {
	Interval Timeval
	Value    Timeval
}

// TimespecOf returns ns nanoseconds.
func TimespecOf(ns int64) Timespec { return Timespec{Sec: ns / 1e9, Nsec: ns % 1e9} }

// TimevalOf returns ns nanoseconds, rounded down to microseconds.
func TimevalOf(ns int64) Timeval { return Timeval{Sec: ns / 1e9, Usec: ns % 1e9 / 1e3} }

// Saturated returns the time in nanoseconds, or the largest one that fits.
func (t Timeval) Saturated() int64 {
	return Timespec{Sec: t.Sec, Nsec: t.Usec * 1e3}.Saturated()
}

// Saturated returns the time in nanoseconds, or the largest one that fits.
func (t Timespec) Saturated() int64 {
	const maxNano = int64(1<<63 - 1)
	if t.Sec >= maxNano/1e9 {
		return maxNano
	}
	return t.Nano()
}

// AddSaturated returns a+b, or the largest int64 if the sum does not fit. a and b must not
// be negative.
func AddSaturated(a, b int64) int64 {
	if s := a + b; s >= 0 {
		return s
	}
	return 1<<63 - 1
}
