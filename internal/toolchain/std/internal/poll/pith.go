//go:build pith

package poll

import (
	"syscall"
	_ "unsafe" // for go:linkname
)

// Package syscall defines pithCall.
//
//go:linkname pithCall syscall.pithCall
//go:uintptrescapes
func pithCall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err syscall.Errno)
