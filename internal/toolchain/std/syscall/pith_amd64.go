//go:build pith

package syscall

import _ "unsafe" // for go:linkname

// pithApart reports whether another goroutine must make a call. This is so if one of
// the three arguments is an address in the calling goroutine's stack, or if the calling
// goroutine is in a bubble of testing/synctest.
//
//go:linkname pithApart
//go:noescape
func pithApart(a1, a2, a3 uintptr) bool
