//go:build pith

package unix

import (
	"syscall"
	_ "unsafe" // for go:linkname
)

// Package syscall defines pithCall and pithCall6.
//
//go:linkname pithCall syscall.pithCall
//go:uintptrescapes
func pithCall(trap, a1, a2, a3 uintptr) (r1, r2 uintptr, err syscall.Errno)

//go:linkname pithCall6 syscall.pithCall6
//go:uintptrescapes
func pithCall6(trap, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2 uintptr, err syscall.Errno)

// fcntl is fcntl(2) of the library OS. It returns -1 and the error number, or the result and
// 0.
func fcntl(fd, cmd, arg int32) (int32, int32) {
	r, _, errno := pithCall(syscall.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	if errno != 0 {
		return -1, int32(errno)
	}
	return int32(r), 0
}

// GetRandom calls getrandom(2) without passing an address: p may be on the caller's stack.
func GetRandom(p []byte, flags GetRandomFlag) (n int, err error) {
	ret, supported := vgetrandom(p, uint32(flags))
	switch {
	case !supported:
		return 0, syscall.ENOSYS
	case ret < 0:
		return 0, syscall.Errno(-ret)
	}
	return ret, nil
}
