package process

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/sys/clock"
)

// futexes has the waiting goroutines by address, in order of arrival.
var futexes struct {
	sync.Mutex
	waiting map[uintptr][]*futexWaiter
}

type futexWaiter struct {
	call.Waiter
	bits  uint32
	woken bool // a wake took it off the list
}

func sysFutex(a *call.Args) (uintptr, linux.Errno) {
	addr, op := a.A0, uint32(a.A1)
	if addr%4 != 0 {
		return 0, linux.EINVAL
	}
	word, errno := call.At[atomic.Uint32](addr)
	if errno != 0 {
		return 0, errno
	}
	bits := ^uint32(0)
	switch op &^ (linux.FUTEX_PRIVATE_FLAG | linux.FUTEX_CLOCK_REALTIME) {
	case linux.FUTEX_WAIT:
		timeout, errno := call.Timeout(a.A3)
		if errno != 0 {
			return 0, errno
		}
		return 0, futexWait(addr, word, uint32(a.A2), bits, timeout)
	case linux.FUTEX_WAIT_BITSET:
		timeout, errno := call.Timeout(a.A3)
		if errno != 0 {
			return 0, errno
		}
		if bits = uint32(a.A5); bits == 0 {
			return 0, linux.EINVAL
		}
		if timeout >= 0 { // an absolute time
			id := linux.CLOCK_MONOTONIC
			if op&linux.FUTEX_CLOCK_REALTIME != 0 {
				id = linux.CLOCK_REALTIME
			}
			now, errno := clock.Now(id)
			if errno != 0 {
				return 0, errno
			}
			timeout = max(timeout-now, 0)
		}
		return 0, futexWait(addr, word, uint32(a.A2), bits, timeout)
	case linux.FUTEX_WAKE_BITSET:
		if bits = uint32(a.A5); bits == 0 {
			return 0, linux.EINVAL
		}
		fallthrough
	case linux.FUTEX_WAKE:
		return futexWake(addr, int(int32(a.A2)), bits), 0
	}
	return 0, linux.ENOSYS
}

func futexWait(addr uintptr, word *atomic.Uint32, value, bits uint32, timeout int64) linux.Errno {
	w := &futexWaiter{bits: bits}
	futexes.Lock()
	if word.Load() != value {
		futexes.Unlock()
		return linux.EAGAIN
	}
	if futexes.waiting == nil {
		futexes.waiting = make(map[uintptr][]*futexWaiter)
	}
	futexes.waiting[addr] = append(futexes.waiting[addr], w)
	futexes.Unlock()

	w.Start(timeout)
	defer w.Stop()
	for {
		more := w.Park()
		futexes.Lock()
		woken := w.woken
		if !woken && !more {
			takeWaiters(addr, 1, func(x *futexWaiter) bool { return x == w })
		}
		futexes.Unlock()
		switch {
		case woken:
			return 0
		case !more:
			return linux.ETIMEDOUT
		}
	}
}

func futexWake(addr uintptr, n int, bits uint32) uintptr {
	futexes.Lock()
	taken := takeWaiters(addr, max(n, 1), func(w *futexWaiter) bool { return w.bits&bits != 0 })
	for _, w := range taken {
		w.woken = true
	}
	futexes.Unlock()
	for _, w := range taken {
		w.Wake()
	}
	return uintptr(len(taken))
}

// takeWaiters removes up to n matching waiters and returns them, with futexes locked.
func takeWaiters(addr uintptr, n int, match func(*futexWaiter) bool) (taken []*futexWaiter) {
	var rest []*futexWaiter
	for _, w := range futexes.waiting[addr] {
		if len(taken) < n && match(w) {
			taken = append(taken, w)
		} else {
			rest = append(rest, w)
		}
	}
	if rest == nil {
		delete(futexes.waiting, addr)
	} else {
		futexes.waiting[addr] = rest
	}
	return taken
}
