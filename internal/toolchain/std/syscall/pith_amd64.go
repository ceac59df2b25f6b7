//go:build pith

package syscall

import _ "unsafe" // for go:linkname

// pithApart reports whether a call is to be made by another goroutine: one of its
// three addresses lies in the calling goroutine's stack, or that is in a bubble
// of testing/synctest.
//
//go:linkname pithApart
//go:noescape
func pithApart(a1, a2, a3 uintptr) bool
