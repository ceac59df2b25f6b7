//go:build pith

package sysrand

import "syscall"

// urandomRead is for kernels without getrandom(2). Reading a file here would move the memory
// of every caller to the heap.
func urandomRead([]byte) error { return syscall.ENOSYS }
