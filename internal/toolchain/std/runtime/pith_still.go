//go:build pith

package runtime

import "unsafe"

// pithstill is a system call that another goroutine makes while the caller is parked. Two
// kinds of callers need it.
//
// The first kind is in a bubble of testing/synctest. During a call in the bubble, the library
// OS would make timers of the bubble and read the bubble's time. The other goroutine belongs
// to the system and is in no bubble.
//
// The second kind passes pointers into its own stack. Such callers are in assembly
// (golang.org/x/sys/unix), whose variables the compiler does not move to the heap. The stack
// must not move while the library OS writes to it. So the caller makes no stack check during
// the call, and parkingOnChan keeps the garbage collector from shrinking the stack.
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

// The worker and the function that starts it, as static function values.
var (
	pithstillfn      = pithstillworker
	pithstillstartfn = pithstillstart
)

// pithstillcall parks the caller while another goroutine makes the call s. The functions on
// this path make no stack checks. They must fit into the stack's reserve even without
// optimisation (-N -l). So pithstillcall avoids small helper functions, which need a frame if
// they are not inlined. It stores pointers to the stack and to static data as numbers, without
// write barriers. The garbage collector does not need these pointers.
//
//go:linkname pithstillcall syscall.pithStillCall
//go:nosplit
func pithstillcall(s *pithstill) {
	gp := getg()
	s.gp = guintptr(unsafe.Pointer(gp))
	parking := (*uint8)(unsafe.Pointer(&gp.parkingOnChan))
	*parking = 1
	// This is gopark without a stack check.
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

// pithstillstart runs on the system stack after the caller is parked.
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

// pithstillworker makes one of the waiting calls.
func pithstillworker() {
	lock(&pithstills.lock)
	s := (*pithstill)(unsafe.Pointer(pithstills.head))
	pithstills.head = s.next
	unlock(&pithstills.lock)
	a := &s.args
	s.r, s.e = s.call(a[0], a[1], a[2], a[3], a[4], a[5], a[6])
	goready(s.gp.ptr(), 1)
}
