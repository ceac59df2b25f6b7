//go:build pith

package runtime

import (
	"internal/stringslite"
	_ "unsafe" // for go:linkname
)

// This file has functions of the runtime that package pith/libos/platform links to. The
// package links to other functions of the runtime by their original names.

// pithplatformboot returns the boot parameters. In a VM it also limits a goroutine's stack to
// half of the memory. So endless recursion reports a stack overflow and not a lack of memory.
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

// pithplatformblock makes a host call that may block its thread.
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

// pithpark and pithunpark are a semaphore for blocking in the library OS. testing/synctest
// treats a wait for it as I/O. The scheduler counts a waiting goroutine as waiting for the
// poller, so that a program with all goroutines in system calls has no deadlock.
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

// pithSystem reports whether a goroutine that starts with the named function belongs to the
// system. The system is the runtime, as in any Go program, and the library OS. NumGoroutine
// does not count such goroutines, and tracebacks and profiles do not show them.
func pithSystem(name string) bool {
	return stringslite.HasPrefix(name, "runtime.") ||
		stringslite.HasPrefix(name, "pith/libos/") ||
		stringslite.HasPrefix(name, "vendor/gvisor.dev/gvisor/")
}
