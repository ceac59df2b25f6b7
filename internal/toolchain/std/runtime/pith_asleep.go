//go:build pith

package runtime

import (
	"internal/stringslite"
	"unsafe"
)

// This file detects a deadlock of the program in a VM. The goroutines of devices wait for the
// poller as long as the VM runs. The network's goroutines do so after its first use. Both have
// timers. One thread is in the poller for them. checkdead counts that thread as running, so it
// would never report a deadlock of the program.

// pithawake is the goroutine that pithasleep found last. Guarded by sched.lock.
var pithawake guintptr

// pithpoll replaces netpoll in the scheduler. It checks for a deadlock before it blocks. Later
// there may be no running thread that could check.
func pithpoll(delay int64) (gList, int32) {
	if delay != 0 {
		lock(&sched.lock)
		checkdead()
		unlock(&sched.lock)
	}
	return netpoll(delay)
}

// pithasleep reports whether the program is deadlocked. All other threads must be idle. The
// program is deadlocked if it has no timers and none of its goroutines is in a system call.
// Then this thread is in the poller only for the system. A thread that returns from the
// poller takes sched.lock before anything else.
func pithasleep() bool {
	assertLockHeld(&sched.lock)
	if sched.lastpoll.Load() != 0 || panicking.Load() > 0 {
		return false
	}
	if gp := pithawake.ptr(); gp != nil && readgstatus(gp) == _Gwaiting && gp.waitreason == waitReasonIOWait {
		return false
	}
	for _, pp := range allp {
		if pithtimers(pp) {
			return false
		}
	}
	lock(&allglock)
	gs := allgs
	unlock(&allglock)
	for _, gp := range gs {
		switch readgstatus(gp) {
		case _Gdead:
			continue
		case _Gwaiting:
		default:
			return false
		}
		if isSystemGoroutine(gp, false) {
			continue
		}
		if gp.waitreason == waitReasonIOWait {
			pithawake.set(gp)
			return false
		}
		if pithinside(gp) {
			return false
		}
	}
	return true
}

// pithtimers reports whether pp has timers of the program.
func pithtimers(pp *p) bool {
	for _, tw := range pp.timers.heap {
		if !pithsystemtimer(tw.timer) {
			return true
		}
	}
	return false
}

// pithsystemtimer reports whether a timer belongs to the library OS. Such a timer calls a
// function of the library OS, directly or by time.AfterFunc, or ends the sleep of one of the
// library OS's goroutines.
func pithsystemtimer(t *timer) bool {
	code := func(f unsafe.Pointer) string { return funcname(findfunc((*funcval)(f).fn)) }
	arg := efaceOf(&t.arg).data
	switch name := code(*(*unsafe.Pointer)(unsafe.Pointer(&t.f))); name {
	case "runtime.goroutineReady":
		return isSystemGoroutine((*g)(arg), false)
	case "time.goFunc":
		return pithSystem(code(arg))
	default:
		return pithSystem(name)
	}
}

// pithinside reports whether a waiting goroutine is in a function of the library OS. It then
// waits for a lock that a goroutine of the system holds.
func pithinside(gp *g) bool {
	var u unwinder
	for u.init(gp, 0); u.valid(); u.next() {
		name := funcname(u.frame.fn)
		if pithSystem(name) && !stringslite.HasPrefix(name, "runtime.") {
			return true
		}
	}
	return false
}
