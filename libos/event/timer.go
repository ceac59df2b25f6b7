package event

import (
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"
)

// Timer is a timerfd. As on Linux, a periodic timer that expired starts again only
// when its expirations are read: until then there is one edge.
type Timer struct {
	file.Base
	queue    wait.Queue
	realtime bool

	mu       sync.Mutex
	next     int64  // next expiration on the monotonic clock, in nanoseconds; 0: none
	interval int64  // nanoseconds; 0: not periodic
	ticks    uint64 // expirations not read yet
	alarm    *platform.Timer
}

// NewTimer is timerfd_create(2).
func NewTimer(clock int, flags uint32) (*Timer, linux.Errno) {
	t := new(Timer)
	switch clock {
	case linux.CLOCK_MONOTONIC, linux.CLOCK_BOOTTIME, linux.CLOCK_BOOTTIME_ALARM:
	case linux.CLOCK_REALTIME, linux.CLOCK_REALTIME_ALARM:
		t.realtime = true
	default:
		return nil, linux.EINVAL
	}
	t.Init(linux.O_RDWR | flags&linux.TFD_NONBLOCK)
	return t, 0
}

// Set is timerfd_settime(2). It returns the previous setting. TFD_TIMER_CANCEL_ON_SET
// has no effect: the program cannot set the realtime clock.
func (t *Timer) Set(flags int, spec linux.Itimerspec) (old linux.Itimerspec, errno linux.Errno) {
	if flags&^(linux.TFD_TIMER_ABSTIME|linux.TFD_TIMER_CANCEL_ON_SET) != 0 ||
		!spec.Value.Valid() || !spec.Interval.Valid() {
		return old, linux.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := platform.Nanotime()
	old = t.remaining(now)
	t.stop()
	t.ticks, t.next, t.interval = 0, 0, 0
	if spec.Value == (linux.Timespec{}) {
		return old, 0
	}
	t.interval = spec.Interval.Saturated()
	t.next = spec.Value.Saturated()
	if flags&linux.TFD_TIMER_ABSTIME == 0 {
		t.next = linux.AddSaturated(t.next, now)
	} else if t.realtime {
		sec, nsec := platform.Walltime()
		t.next -= sec*1e9 + int64(nsec) - now
	}
	t.next = max(t.next, 1)
	t.start(now)
	return old, 0
}

// Get is timerfd_gettime(2).
func (t *Timer) Get() linux.Itimerspec {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := platform.Nanotime()
	spec := t.remaining(now)
	t.start(now)
	return spec
}

func (t *Timer) remaining(now int64) linux.Itimerspec {
	t.advance(now)
	spec := linux.Itimerspec{Interval: linux.TimespecOf(t.interval)}
	if t.next != 0 {
		spec.Value = linux.TimespecOf(t.next - now)
	}
	return spec
}

// advance counts the expirations up to now.
func (t *Timer) advance(now int64) {
	if t.next == 0 || now < t.next {
		return
	}
	n := int64(1)
	if t.interval == 0 {
		t.next = 0
	} else {
		n += (now - t.next) / t.interval
		t.next = linux.AddSaturated(t.next, n*t.interval)
	}
	t.ticks += uint64(n)
}

// start sets the alarm for the next expiration, unless it is set already.
func (t *Timer) start(now int64) {
	if t.next != 0 && t.alarm == nil {
		t.alarm = t.alarmAt(t.next - now)
	}
}

func (t *Timer) alarmAt(ns int64) *platform.Timer {
	var alarm *platform.Timer
	alarm = platform.AfterFunc(max(ns, 0), func() {
		t.mu.Lock()
		if t.alarm != alarm { // stopped or replaced
			t.mu.Unlock()
			return
		}
		t.alarm = nil
		now := platform.Nanotime()
		t.advance(now)
		expired := t.ticks > 0
		if !expired { // a Read took the expiration just before
			t.start(now)
		}
		t.mu.Unlock()
		if expired {
			t.queue.Notify(wait.In)
		}
	})
	return alarm
}

func (t *Timer) stop() {
	if t.alarm != nil {
		t.alarm.Stop()
		t.alarm = nil
	}
}

// Read implements file.File: it returns the number of expirations since the
// last read.
func (t *Timer) Read(p []byte) (int, linux.Errno) {
	if len(p) < 8 {
		return 0, linux.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := platform.Nanotime()
	t.advance(now)
	if t.ticks == 0 {
		return 0, linux.EAGAIN
	}
	putUint64(p, t.ticks)
	t.ticks = 0
	t.start(now)
	return 8, 0
}

// Ready implements file.File.
func (t *Timer) Ready() wait.Events {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.advance(platform.Nanotime())
	if t.ticks > 0 {
		return wait.In
	}
	return 0
}

// Watch implements file.File.
func (t *Timer) Watch() *wait.Queue { return &t.queue }

// Release implements file.File.
func (t *Timer) Release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	t.next = 0
}

// Stat implements file.File.
func (t *Timer) Stat(st *linux.Stat) linux.Errno { return file.StatAnonymous(st) }
