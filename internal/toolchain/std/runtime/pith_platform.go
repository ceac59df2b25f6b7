//go:build pith

package runtime

// What package pith/libos/platform needs of the runtime, beside what it can
// reach by name.

//go:linkname pithplatformboot pith/libos/platform.bootLine
func pithplatformboot() string { return pithbootline }

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

// pithpark and pithunpark are the library OS's own blocking: sema is 0 or 1.
// Unlike channels they belong to no testing/synctest bubble.
//
//go:linkname pithpark pith/libos/platform.park
func pithpark(key *uint32) {
	semacquire1(key, false, 0, 0, waitReasonSyncCondWait)
}

//go:linkname pithunpark pith/libos/platform.unpark
func pithunpark(key *uint32) { semrelease1(key, false, 0) }
