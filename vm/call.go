//go:build pith

package runtime

import "unsafe"

// System calls that reach the gate in a virtual machine, by Linux's numbers:
// those of the runtime itself and of package platform.
const (
	nrRead         = 0
	nrWrite        = 1
	nrClose        = 3
	nrMmap         = 9
	nrMprotect     = 10
	nrMunmap       = 11
	nrSigaction    = 13
	nrSigprocmask  = 14
	nrSigreturn    = 15
	nrSchedYield   = 24
	nrMincore      = 27
	nrMadvise      = 28
	nrNanosleep    = 35
	nrGetpid       = 39
	nrClone        = 56
	nrExit         = 60
	nrKill         = 62
	nrFcntl        = 72
	nrSigaltstack  = 131
	nrArchPrctl    = 158
	nrGettid       = 186
	nrFutex        = 202
	nrClockGettime = 228
	nrExitGroup    = 231
	nrEpollCtl     = 233
	nrTgkill       = 234
	nrOpen         = 2
	nrOpenat       = 257
	nrFaccessat    = 269
	nrEpollPwait   = 281
	nrEventfd2     = 290
	nrEpollCreate1 = 291
	nrPrctl        = 157
)

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
		t.ax = 0
		if vm.head != nil {
			t = vmYield(t)
		}
	case num == nrNanosleep:
		t = vmNanosleep(t, vmTimespec(t.di))
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
		t.ax = vmSimple(t, num)
	}
	return vmLeave(t)
}

// vmSimple makes a call after which t goes on.
//
//go:nosplit
func vmSimple(t *vmThread, num uintptr) uintptr {
	switch {
	case num == nrWrite:
		return vmWrite(t.di, t.si, t.dx)
	case num == nrRead:
		return vmRead(t.di, t.si, t.dx)
	case num == nrMmap:
		return vmMmap(t.di, t.si, t.dx, t.r10)
	case num == nrMunmap:
		return vmMunmap(t.di, t.si)
	case num == nrMprotect:
		return vmnucleus(callProtect, t.di, vmPages(t.si), t.dx&3, 0)
	case num == nrMadvise:
		return vmMadvise(t.di, t.si, t.dx)
	case num == nrClockGettime:
		ns, ok := vmClock(t, t.di)
		if !ok {
			return vmErr(_EINVAL)
		}
		ts := (*timespec)(unsafe.Pointer(t.si))
		ts.tv_sec, ts.tv_nsec = ns/1e9, ns%1e9
		return 0
	case num == nrClone:
		return vmClone(t)
	case num == nrSigaction:
		return vmSigactionSet(t.di, t.si, t.dx)
	case num == nrSigprocmask:
		return vmSigprocmask(t, t.di, t.si, t.dx)
	case num == nrSigaltstack:
		return vmSigaltstack(t, t.di, t.si)
	case num == nrTgkill:
		return vmKill(vmThreadOf(int32(t.si)), t.dx)
	case num == nrKill:
		return vmKill(vmSignalled(t.si), t.si)
	case num == nrArchPrctl:
		const setFS = 0x1002
		if t.di != setFS {
			return vmErr(_EINVAL)
		}
		t.fs = t.si
		return 0
	case num == nrGettid:
		return uintptr(t.tid)
	case num == nrGetpid:
		return 1
	case num == nrExitGroup:
		vmnucleus(callExit, t.di, 0, 0, 0)
	case num == nrEpollCtl:
		return vmEpollCtl(t.si, t.dx, t.r10)
	case num == nrEpollCreate1:
		return vmFDEpoll
	case num == nrEventfd2:
		return vmFDWake
	case num == nrFcntl:
		return 0
	case num == nrClose:
		return vmErr(_EBADF)
	case num == nrOpen || num == nrOpenat || num == nrFaccessat:
		return vmErr(_ENOENTvm)
	case num == nrPrctl || num == nrMincore && t.di&(pageSize4-1) != 0:
		return vmErr(_EINVAL)
	case num >= nrDMA:
		return vmMachine(t, num)
	}
	return vmErr(_ENOSYSvm)
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

// vmClone is clone(2) for a thread of the runtime: its stack in SI, its TLS in
// R8 with CLONE_SETTLS.
//
//go:nosplit
func vmClone(t *vmThread) uintptr {
	const setTLS = 0x80000
	n := vmNewThread()
	if n == nil {
		return vmErr(_EAGAIN)
	}
	n.bx, n.dx, n.si, n.di, n.bp = t.bx, t.dx, t.si, t.di, t.bp
	n.r8, n.r9, n.r10 = t.r8, t.r9, t.r10
	n.r12, n.r13, n.r14, n.r15 = t.r12, t.r13, t.r14, t.r15
	n.ip, n.sp = t.ip, t.si
	n.sigmask = t.sigmask
	n.mxcsr = t.mxcsr
	n.fs = t.fs
	if t.di&setTLS != 0 {
		n.fs = t.r8
	}
	n.cpu = t.cpu
	vmReady(n, 0)
	return uintptr(n.tid)
}

// vmFutex is futex(2), FUTEX_WAIT with a relative timeout and FUTEX_WAKE.
//
//go:nosplit
func vmFutex(t *vmThread) *vmThread {
	const wait, wake, private = 0, 1, 128
	op, val := t.si&^private, uint32(t.dx)
	q := &vm.futexes[t.di>>3&63]
	switch {
	case op == wait:
		if *(*uint32)(unsafe.Pointer(t.di)) != val {
			t.ax = vmErr(_EAGAIN)
			return t
		}
		if t.signalled() {
			t.ax = vmErr(_EINTR)
			return t
		}
		if t.r10 != 0 {
			ns := vmTimespec(t.r10)
			if ns <= 0 {
				t.ax = vmErr(_ETIMEDOUT)
				return t
			}
			vmSleepUntil(t, vmNow()+ns)
		}
		t.state, t.addr = vmFutexWait, t.di
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
			if w.addr != t.di {
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
		t.ax = woken
		return t
	}
	t.ax = vmErr(_ENOSYSvm)
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
	if vmin8(portText) == portThere {
		vmouts(portText, p, n)
		return n
	}
	for i := range n {
		b := uintptr(load8(p + i))
		if b == '\n' {
			vmSerial('\r')
		}
		vmSerial(b)
	}
	return n
}

//go:nosplit
func vmSerial(b uintptr) {
	for range 1 << 16 {
		if vmin8(portSerial+5)&0x20 != 0 {
			break
		}
	}
	vmout8(portSerial, b)
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
