//go:build pith

package unix

import "syscall"

// fcntl is fcntl(2) of the library OS; it returns -1 and the error number, or
// the result and 0.
func fcntl(fd, cmd, arg int32) (int32, int32) {
	r, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	if errno != 0 {
		return -1, int32(errno)
	}
	return int32(r), 0
}
