//go:build pith

package runtime

// What differs in Linux's interface from one architecture to the other: system
// call numbers, the layout of structures, and calls that only one has.

// System calls that reach the gate in a virtual machine: those of the runtime
// itself and of package platform.
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

// vmOldCall makes a system call that newer architectures do not have.
//
//go:nosplit
func vmOldCall(t *vmThread, num uintptr) uintptr {
	switch {
	case num == nrOpen:
		return vmErr(_ENOENTvm)
	case num == nrArchPrctl:
		const setFS = 0x1002
		if t.arg1() != setFS {
			return vmErr(_EINVAL)
		}
		t.tls = t.arg2()
		return 0
	}
	return vmErr(_ENOSYSvm)
}

// epollEvent is struct epoll_event, which is packed on x86-64 alone.
type epollEvent struct {
	events uint32
	data   [8]byte
}
