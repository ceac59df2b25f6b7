//go:build pith

package runtime

import (
	"internal/stringslite"
	"unsafe"
)

// A device's goroutine waits for the poller as long as the machine runs, and the
// network's does from its first use on; both have timers. One thread is in the
// poller for them then, which checkdead takes for one that runs: the program's
// deadlock would last for ever.

// pithawake is the goroutine that pithasleep found last. Guarded by sched.lock.
var pithawake guintptr

// pithpoll is the scheduler's netpoll. If no other thread runs, nobody would look
// for a deadlock later.
func pithpoll(delay int64) (gList, int32) {
	if delay != 0 {
		lock(&sched.lock)
		checkdead()
		unlock(&sched.lock)
	}
	return netpoll(delay)
}

// pithasleep says, when but one thread is not idle, whether that is in the
// poller, and for the system alone: the program has no timer, and no goroutine in
// a system call. Who comes back from the poller needs sched.lock before anything
// else.
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

// pithtimers says whether pp has timers of the program's.
func pithtimers(pp *p) bool {
	for _, tw := range pp.timers.heap {
		if !pithsystemtimer(tw.timer) {
			return true
		}
	}
	return false
}

// pithsystemtimer says whether a timer is the library OS's: its call, a
// time.AfterFunc, or the sleep of one of its goroutines.
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

// pithinside says whether a goroutine that waits is in the library OS: for a
// lock that one of the system's goroutines has.
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
