//go:build pith

package runtime

import _ "unsafe" // for go:linkname

// pithgate is called by assembly here and in other packages.
//
//go:linkname pithgate
func pithgate()

//go:noescape
func pithhostcall(num, a1, a2, a3, a4, a5, a6 uintptr) uintptr
