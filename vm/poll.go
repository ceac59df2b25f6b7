//go:build pith

package runtime

import "unsafe"

// The runtime's poller waits here, by epoll_pwait: for its eventfd, and for
// interrupts, each of which is a descriptor: vmFDIRQ and its vector.

type vmSource struct {
	open, ready bool
	data        [8]byte // of struct epoll_event
}

const vmFDIRQ = 1000

// vmEpollCtl is epoll_ctl(2).
//
//go:nosplit
func vmEpollCtl(op, fd, ev uintptr) uintptr {
	const add, del = 1, 2
	i := fd
	if fd >= vmFDIRQ+vectorDevice && fd < vmFDIRQ+vectorTimer {
		i = fd - vmFDIRQ
	} else if fd != vmFDWake {
		return vmErr(_EBADF)
	}
	s := &vm.sources[i&(vectors-1)]
	s.open = op != del
	if s.open {
		s.data = (*epollEvent)(unsafe.Pointer(ev)).data
		if s.ready {
			vmPollWake()
		}
	}
	return 0
}

// vmInterrupts makes the sources ready whose interrupts came.
//
//go:nosplit
func vmInterrupts() {
	s := vmSharedPage()
	any := false
	for w := range uintptr(2) {
		p := &s.irqs[w&1]
		if *p == 0 {
			continue
		}
		for bits := vmxchg64(p, 0); bits != 0; bits &= bits - 1 {
			vm.sources[(w*64+lowestBit(uintptr(bits)))&(vectors-1)].ready = true
			any = true
		}
	}
	if any {
		vmPollWake()
	}
}

// vmPoll is epoll_pwait(2).
//
//go:nosplit
func vmPoll(t *vmThread) *vmThread {
	vmInterrupts()
	if n := vmCollect(t.arg2(), t.arg3()); n != 0 || t.arg4() == 0 {
		t.setResult(n)
		return t
	}
	if t.signalled() {
		t.setResult(vmErr(_EINTR))
		return t
	}
	t.events, t.maxevents = t.arg2(), t.arg3()
	if ms := int32(t.arg4()); ms > 0 {
		vmSleepUntil(t, vmNow()+int64(ms)*1e6)
	}
	t.state = vmPollWait
	vm.poller = t
	return vmSwitch(t)
}

// vmPollWake ends the poller's wait if there is something.
//
//go:nosplit
func vmPollWake() {
	t := vm.poller
	if t == nil {
		return
	}
	if n := vmCollect(t.events, t.maxevents); n != 0 {
		vm.poller = nil
		vmReady(t, n)
	}
}

// vmCollect writes the events of ready sources. An interrupt is told once, the
// eventfd as long as it is not read.
//
//go:nosplit
func vmCollect(events, most uintptr) uintptr {
	const in = 1
	n := uintptr(0)
	for i := uintptr(vmFDWake); i < vectorTimer && n < most; i++ {
		s := &vm.sources[i&(vectors-1)]
		if !s.ready || !s.open {
			continue
		}
		e := (*epollEvent)(unsafe.Pointer(events + n*unsafe.Sizeof(epollEvent{})))
		e.events, e.data = in, s.data
		if i != vmFDWake {
			s.ready = false
		}
		n++
	}
	return n
}
