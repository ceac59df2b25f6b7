//go:build pith

package runtime

import "unsafe"

// The poller's descriptors, as for a confined process (package boot).
const (
	vmFDEpoll = 5
	vmFDWake  = 6
)

// vmCall makes system call num of thread t, whose arguments are in its saved
// registers, and gives the thread to run.
//
//go:nosplit
func vmCall(t *vmThread, num uintptr) *vmThread {
	vmLock()
	switch {
	case num == nrFutex:
		t = vmFutex(t)
	case num == nrSchedYield:
		t.setResult(0)
		if vm.head != nil {
			t = vmYield(t)
		}
	case num == nrNanosleep:
		t = vmNanosleep(t, vmTimespec(t.arg1()))
	case num == nrEpollPwait:
		t = vmPoll(t)
	case num == nrExit:
		vm.usedByDead += t.used + vmNow() - t.since
		t.state = vmDead
		t.next, vm.free = vm.free, t
		t = vmNext()
	case num == nrSigreturn:
		vmSigreturn(t)
	default:
		t.setResult(vmSimple(t, num))
	}
	return vmLeave(t)
}

// vmSimple makes a call after which t goes on.
//
//go:nosplit
func vmSimple(t *vmThread, num uintptr) uintptr {
	switch {
	case num == nrWrite:
		return vmWrite(t.arg1(), t.arg2(), t.arg3())
	case num == nrRead:
		return vmRead(t.arg1(), t.arg2(), t.arg3())
	case num == nrMmap:
		return vmMmap(t.arg1(), t.arg2(), t.arg3(), t.arg4())
	case num == nrMunmap:
		return vmMunmap(t.arg1(), t.arg2())
	case num == nrMprotect:
		return vmnucleus(callProtect, t.arg1(), vmPages(t.arg2()), t.arg3()&3, 0)
	case num == nrMadvise:
		return vmMadvise(t.arg1(), t.arg2(), t.arg3())
	case num == nrClockGettime:
		ns, ok := vmClock(t, t.arg1())
		if !ok {
			return vmErr(_EINVAL)
		}
		ts := (*timespec)(unsafe.Pointer(t.arg2()))
		ts.tv_sec, ts.tv_nsec = ns/1e9, ns%1e9
		return 0
	case num == nrClone:
		return vmClone(t)
	case num == nrSigaction:
		return vmSigactionSet(t.arg1(), t.arg2(), t.arg3())
	case num == nrSigprocmask:
		return vmSigprocmask(t, t.arg1(), t.arg2(), t.arg3())
	case num == nrSigaltstack:
		return vmSigaltstack(t, t.arg1(), t.arg2())
	case num == nrTgkill:
		return vmKill(vmThreadOf(int32(t.arg2())), t.arg3())
	case num == nrKill:
		return vmKill(vmSignalled(t.arg2()), t.arg2())
	case num == nrGettid:
		return uintptr(t.tid)
	case num == nrGetpid:
		return 1
	case num == nrExitGroup:
		vmnucleus(callExit, t.arg1(), 0, 0, 0)
	case num == nrEpollCtl:
		return vmEpollCtl(t.arg2(), t.arg3(), t.arg4())
	case num == nrEpollCreate1:
		return vmFDEpoll
	case num == nrEventfd2:
		return vmFDWake
	case num == nrFcntl:
		return 0
	case num == nrClose:
		return vmErr(_EBADF)
	case num == nrOpenat || num == nrFaccessat:
		return vmErr(_ENOENTvm)
	case num == nrPrctl || num == nrMincore && t.arg1()&(pageSize4-1) != 0:
		return vmErr(_EINVAL)
	case num >= platformDMA:
		return vmPlatformCall(t, num)
	}
	return vmOldCall(t, num)
}

// vmTimespec is the time at p in nanoseconds.
//
//go:nosplit
func vmTimespec(p uintptr) int64 {
	ts := (*timespec)(unsafe.Pointer(p))
	if ts.tv_sec > 4e9 {
		return 4e18
	}
	return ts.tv_sec*1e9 + ts.tv_nsec
}

// vmClone is clone(2) for a thread of the runtime.
//
//go:nosplit
func vmClone(t *vmThread) uintptr {
	n := vmNewThread()
	if n == nil {
		return vmErr(_EAGAIN)
	}
	n.clone(t)
	n.sigmask = t.sigmask
	n.cpu = t.cpu
	vmReady(n, 0)
	return uintptr(n.tid)
}

// vmFutex is futex(2), FUTEX_WAIT with a relative timeout and FUTEX_WAKE.
//
//go:nosplit
func vmFutex(t *vmThread) *vmThread {
	const wait, wake, private = 0, 1, 128
	op, val := t.arg2()&^private, uint32(t.arg3())
	q := &vm.futexes[t.arg1()>>3&63]
	switch {
	case op == wait:
		if *(*uint32)(unsafe.Pointer(t.arg1())) != val {
			t.setResult(vmErr(_EAGAIN))
			return t
		}
		if t.signalled() {
			t.setResult(vmErr(_EINTR))
			return t
		}
		if t.arg4() != 0 {
			ns := vmTimespec(t.arg4())
			if ns <= 0 {
				t.setResult(vmErr(_ETIMEDOUT))
				return t
			}
			vmSleepUntil(t, vmNow()+ns)
		}
		t.state, t.addr = vmFutexWait, t.arg1()
		// Behind the others: first come, first served.
		t.next = nil
		if *q == nil {
			*q = t
		} else {
			last := *q
			for last.next != nil {
				last = last.next
			}
			last.next = t
		}
		return vmSwitch(t)
	case op == wake:
		woken := uintptr(0)
		var prev *vmThread
		for w := *q; w != nil && woken < uintptr(val); {
			next := w.next
			if w.addr != t.arg1() {
				prev = w
			} else {
				if prev == nil {
					*q = next
				} else {
					prev.next = next
				}
				vmReady(w, 0)
				woken++
			}
			w = next
		}
		t.setResult(woken)
		return t
	}
	t.setResult(vmErr(_ENOSYSvm))
	return t
}

// vmFutexRemove takes t out of its queue.
//
//go:nosplit
func vmFutexRemove(t *vmThread) {
	q := &vm.futexes[t.addr>>3&63]
	if *q == t {
		*q = t.next
		return
	}
	for w := *q; w != nil; w = w.next {
		if w.next == t {
			w.next = t.next
			return
		}
	}
}

//go:nosplit
func vmPages(n uintptr) uintptr { return (n + pageSize4 - 1) &^ (pageSize4 - 1) }

// vmMmap is mmap(2) of private anonymous memory.
//
//go:nosplit
func vmMmap(addr, n, prot, flags uintptr) uintptr {
	const fixed, noReplace = 0x10, 0x100000
	if n == 0 {
		return vmErr(_EINVAL)
	}
	n = vmPages(n)
	if n == 0 || n >= vmMmapTop {
		return vmErr(_ENOMEM)
	}
	if flags&fixed != 0 {
		vm.unused.remove(addr, n)
		if r := vmnucleus(callMap, addr, n, prot&3|mapFixed, 0); r != 0 {
			return r
		}
		return addr
	}
	if flags&noReplace != 0 || addr != 0 && addr&(pageSize4-1) == 0 {
		r := vmnucleus(callMap, addr, n, prot&3, 0)
		if r == 0 {
			return addr
		}
		if flags&noReplace != 0 || r == nucleusENOMEM {
			return r
		}
	}
	// Downwards, and from the top again where that ends.
	for tries := 0; ; tries++ {
		if vm.mmap < n+1<<30 {
			vm.mmap = vmMmapTop
		}
		if tries > 1<<16 || n > vmMmapTop-1<<30 {
			return vmErr(_ENOMEM)
		}
		// Large ones at a multiple of a table's range, which costs fewer tables.
		at := vm.mmap - n
		if n >= pageSize2 {
			at &^= pageSize2 - 1
		}
		vm.mmap = at
		if r := vmnucleus(callMap, at, n, prot&3, 0); r != nucleusEEXIST {
			if r != 0 {
				return r
			}
			return at
		}
	}
}

//go:nosplit
func vmMunmap(addr, n uintptr) uintptr {
	n = vmPages(n)
	vm.unused.remove(addr, n)
	r := vmnucleus(callUnmap, addr, n, 0, 0)
	if r == 0 && addr == vm.mmap {
		vm.mmap += n
	}
	return r
}

// vmMadvise is madvise(2).
//
//go:nosplit
func vmMadvise(addr, n, advice uintptr) uintptr {
	const dontNeed, free = 4, 8
	n = vmPages(n)
	if n == 0 {
		return 0
	}
	switch advice {
	case dontNeed, free:
		return vmnucleus(callDiscard, addr, n, 0, 0)
	case adviceUnused:
		return vm.unused.add(addr, n)
	case adviceUsed:
		vm.unused.remove(addr, n)
	}
	return 0
}

// vmWrite writes text to the debug console, or to the serial line, of what is
// there: for descriptors 1 and 2, until package platform has a driver. A write
// to the poller's eventfd wakes it.
//
//go:nosplit
func vmWrite(fd, p, n uintptr) uintptr {
	switch {
	case fd == vmFDWake:
		vm.wake += *(*uint64)(unsafe.Pointer(p))
		vm.sources[vmFDWake].ready = true
		vmPollWake()
		return 8
	case fd != 1 && fd != 2:
		return vmErr(_EBADF)
	}
	vmConsoleWrite(p, n)
	return n
}

//go:nosplit
func vmRead(fd, p, n uintptr) uintptr {
	switch {
	case fd == vmFDWake:
		if vm.wake == 0 {
			return vmErr(_EAGAIN)
		}
		*(*uint64)(unsafe.Pointer(p)) = vm.wake
		vm.wake = 0
		vm.sources[vmFDWake].ready = false
		return 8
	case fd == 0:
		return 0
	}
	return vmErr(_EBADF)
}
