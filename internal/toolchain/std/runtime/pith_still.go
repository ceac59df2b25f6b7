//go:build pith

package runtime

import "unsafe"

// pithstill is a system call that another goroutine makes while the caller stands still, as a
// thread does in a system call. Two kinds of callers need it.
//
// The first kind is in a bubble of testing/synctest. Timers that the library OS makes during
// the call would belong to the bubble, and the times that it reads would be the bubble's.
// The other goroutine belongs to the system and is in no bubble.
//
// The second kind has pointers into its own stack. Such callers are in assembly
// (golang.org/x/sys/unix), for which the compiler moves nothing to the heap. The stack must
// not move while the library OS writes to it. So there is no stack check until the call is
// over, and parkingOnChan keeps the garbage collector from shrinking the stack.
//
// Package syscall has the same type.
type pithstill struct {
	call func(num, a1, a2, a3, a4, a5, a6 uintptr) (r, errno uintptr)
	args [7]uintptr
	r, e uintptr
	gp   guintptr
	next uintptr // *pithstill
}

var pithstills struct {
	lock mutex
	head uintptr // *pithstill
}

// The worker and the function that starts it, as values that exist already.
var (
	pithstillfn      = pithstillworker
	pithstillstartfn = pithstillstart
)

// pithstillcall parks the caller while another goroutine makes s. Its callers do not check
// the stack, and must fit into the rest of it even when the compiler optimises nothing
// (-N -l). So it calls nothing that would be inlined. It stores pointers to the stack and to
// static data as numbers, without write barriers: the garbage collector need not know them.
//
//go:linkname pithstillcall syscall.pithStillCall
//go:nosplit
func pithstillcall(s *pithstill) {
	gp := getg()
	s.gp = guintptr(unsafe.Pointer(gp))
	parking := (*uint8)(unsafe.Pointer(&gp.parkingOnChan))
	*parking = 1
	// This is gopark, without its stack check.
	mp := gp.m
	mp.locks++
	*(*uintptr)(unsafe.Pointer(&mp.waitlock)) = uintptr(unsafe.Pointer(s))
	*(*uintptr)(unsafe.Pointer(&mp.waitunlockf)) = *(*uintptr)(unsafe.Pointer(&pithstillstartfn))
	gp.waitreason = waitReasonIOWait
	mp.waitTraceBlockReason = traceBlockNet
	mp.waitTraceSkip = 1
	mp.locks--
	mcall(park_m)
	*parking = 0
}

// pithstillstart runs on the system stack when the caller is parked.
func pithstillstart(gp *g, p unsafe.Pointer) bool {
	s := (*pithstill)(p)
	lock(&pithstills.lock)
	s.next = pithstills.head
	pithstills.head = uintptr(p)
	unlock(&pithstills.lock)
	fn := *(**funcval)(unsafe.Pointer(&pithstillfn))
	newg := newproc1(fn, gp, gp.sched.pc, false, waitReasonZero)
	runqput(getg().m.p.ptr(), newg, true)
	wakep()
	return true
}

// pithstillworker makes one call that waits.
func pithstillworker() {
	lock(&pithstills.lock)
	s := (*pithstill)(unsafe.Pointer(pithstills.head))
	pithstills.head = s.next
	unlock(&pithstills.lock)
	a := &s.args
	s.r, s.e = s.call(a[0], a[1], a[2], a[3], a[4], a[5], a[6])
	goready(s.gp.ptr(), 1)
}
