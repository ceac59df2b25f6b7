//go:build pith

package runtime

import _ "unsafe" // for go:linkname

// Assembly in this package and in others calls pithgate.
//
//go:linkname pithgate
func pithgate()

//go:noescape
func pithhostcall(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr
