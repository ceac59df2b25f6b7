package call

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Bytes returns the caller's memory of n bytes at addr. Program and library OS
// share one address space and one privilege level: a bad pointer faults in the
// program's own goroutine and panics there, as any nil dereference does. Bytes
// refuses only what no program can mean, with EFAULT.
func Bytes(addr, n uintptr) ([]byte, linux.Errno) {
	if n == 0 {
		return nil, 0
	}
	if addr < platform.PageSize || n > 1<<47 {
		return nil, linux.EFAULT
	}
	return unsafe.Slice((*byte)(platform.Pointer(addr)), n), 0
}

// At returns the caller's structure of type T at addr. A null pointer is EFAULT.
func At[T any](addr uintptr) (*T, linux.Errno) {
	if addr < platform.PageSize {
		return nil, linux.EFAULT
	}
	return (*T)(platform.Pointer(addr)), 0
}

// PathMax is the size of the longest path, with its terminating zero (PATH_MAX).
const PathMax = 4096

// Path returns the caller's zero-terminated path at addr. The error is EFAULT or
// ENAMETOOLONG.
func Path(addr uintptr) (string, linux.Errno) {
	if addr < platform.PageSize {
		return "", linux.EFAULT
	}
	for n := range PathMax {
		if *(*byte)(platform.Pointer(addr + uintptr(n))) == 0 {
			return string(unsafe.Slice((*byte)(platform.Pointer(addr)), n)), 0
		}
	}
	return "", linux.ENAMETOOLONG
}

// Vectors returns the parts of the iovec array of n elements at addr, without
// the empty ones. The error is EFAULT or EINVAL.
func Vectors(addr, n uintptr) ([][]byte, linux.Errno) {
	if n > linux.IOV_MAX {
		return nil, linux.EINVAL
	}
	if n == 0 {
		return nil, 0
	}
	first, errno := At[linux.Iovec](addr)
	if errno != 0 {
		return nil, errno
	}
	var parts [][]byte
	left := uint64(linux.MAX_RW_COUNT)
	for _, v := range unsafe.Slice(first, n) {
		if int64(v.Len) < 0 {
			return nil, linux.EINVAL
		}
		p, errno := Bytes(v.Base, uintptr(min(v.Len, left)))
		if errno != 0 {
			return nil, errno
		}
		if len(p) > 0 {
			parts = append(parts, p)
			left -= uint64(len(p))
		}
	}
	return parts, 0
}
