// Package sys is the system call table: Linux system calls as functions. It
// decodes arguments, finds the file, and blocks where Linux would block; what
// files do is in their own packages. Package syscall calls Call on the calling
// goroutine.
package sys

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Files is the table of file descriptors.
var Files file.Table

// Args are the six arguments of a system call. They go by value, in registers: a
// pointer would escape through the table and cost an allocation a call.
type Args struct{ A0, A1, A2, A3, A4, A5 uintptr }

// Handler is a system call.
type Handler func(a Args) (uintptr, linux.Errno)

// table has a handler for each implemented call. Each file of this package
// fills in its own in init; afterwards the table does not change.
var table [linux.MaxSyscall + 1]Handler

// Register sets the handler of num. Package inet, which is in the image only
// when the program reaches package net, adds its own in its init.
func Register(num int, h Handler) { table[num] = h }

// Call makes system call num.
func Call(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno) {
	if num < uintptr(len(table)) && tracer == nil {
		if h := table[num]; h != nil {
			return h(Args{a1, a2, a3, a4, a5, a6})
		}
	}
	if tracer != nil {
		return tracer(num, Args{a1, a2, a3, a4, a5, a6})
	}
	return 0, linux.ENOSYS
}

// dispatch makes system call num untraced, whether or not there is a tracer.
func dispatch(num uintptr, a Args) (uintptr, linux.Errno) {
	if num < uintptr(len(table)) && table[num] != nil {
		return table[num](a)
	}
	return 0, linux.ENOSYS
}

// tracer, when set before the program starts, makes and prints every call.
var tracer func(num uintptr, a Args) (uintptr, linux.Errno)

func init() {
	platform.SetPoller(
		func(fd int, pd uintptr) linux.Errno { return Files.PollOpen(fd, pd) },
		func(fd int, pd uintptr) linux.Errno { return Files.PollClose(fd) },
	)
}
