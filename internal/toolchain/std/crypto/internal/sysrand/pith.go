//go:build pith

package sysrand

import "syscall"

// urandomRead is the fallback for kernels without getrandom(2), which is never needed here. An
// implementation that reads a file would move the memory of every caller to the heap.
func urandomRead([]byte) error { return syscall.ENOSYS }
