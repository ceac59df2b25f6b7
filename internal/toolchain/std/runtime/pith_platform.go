//go:build pith

package runtime

import (
	"internal/stringslite"
	_ "unsafe" // for go:linkname
)

// What package pith/libos/platform needs of the runtime, beside what it can
// reach by name.

// A goroutine's stack may have half of a virtual machine's memory, which is all
// there is: beyond it, it reports an overflow and not an end of memory.
//
//go:linkname pithplatformboot pith/libos/platform.bootLine
func pithplatformboot() string {
	if pithvm != 0 {
		maxstacksize = min(maxstacksize, uintptr(pithmemory)/2)
	}
	return pithbootline
}

//go:linkname pithplatformcall pith/libos/platform.hostCall
//go:nosplit
func pithplatformcall(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr {
	return pithhostcall(num, a1, a2, a3, a4, a5, a6)
}

// pithplatformblock is a host call that may block its thread.
//
//go:linkname pithplatformblock pith/libos/platform.hostCallBlocking
//go:nosplit
func pithplatformblock(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr {
	entersyscall()
	r := pithhostcall(num, a1, a2, a3, a4, a5, a6)
	exitsyscall()
	return r
}

//go:linkname pithplatformexit pith/libos/platform.exit
func pithplatformexit(code int32) { exit(code) }

// pithpark and pithunpark are a semaphore for the library OS's own blocking.
// To testing/synctest it is I/O. A goroutine in it counts as one that waits for
// the poller: a program all of which is in system calls is not at a deadlock.
//
//go:linkname pithpark pith/libos/platform.park
func pithpark(sema *uint32) {
	netpollGenericInit()
	netpollAdjustWaiters(1)
	semacquire1(sema, false, 0, 0, waitReasonIOWait)
	netpollAdjustWaiters(-1)
}

//go:linkname pithunpark pith/libos/platform.unpark
func pithunpark(sema *uint32) { semrelease1(sema, false, 0) }

// pithSystem says whether a goroutine that begins with the named function is the
// system's: the runtime's, as everywhere, or the library OS's. Neither is
// counted by NumGoroutine or shown in tracebacks and profiles.
func pithSystem(name string) bool {
	return stringslite.HasPrefix(name, "runtime.") ||
		stringslite.HasPrefix(name, "pith/libos/") ||
		stringslite.HasPrefix(name, "vendor/gvisor.dev/gvisor/")
}
