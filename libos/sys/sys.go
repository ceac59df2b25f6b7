// Package sys is the system call table: Linux system calls as functions. It
// decodes arguments, finds the file, and blocks where Linux would block; what
// files do is in their own packages. Package syscall calls Call on the calling
// goroutine.
package sys

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Files is the table of file descriptors.
var Files file.Table

// Args are the six arguments of a system call.
type Args [6]uintptr

// Handler is a system call.
type Handler func(a *Args) (uintptr, linux.Errno)

// table has a handler for each implemented call. Each file of this package
// fills in its own in init; afterwards the table does not change.
var table [linux.MaxSyscall + 1]Handler

// Register sets the handler of num. Package inet, which is in the image only
// when the program reaches package net, adds its own in its init.
func Register(num int, h Handler) { table[num] = h }

// direct has, for a few calls of three arguments, functions that are called
// without Args, which would be an allocation.
var direct [linux.MaxSyscall + 1]func(a1, a2, a3 uintptr) (uintptr, linux.Errno)

// RegisterDirect sets the handler of num, a call of up to three arguments that
// must cost no allocation.
func RegisterDirect(num int, h func(a1, a2, a3 uintptr) (uintptr, linux.Errno)) {
	direct[num] = h
	Register(num, func(a *Args) (uintptr, linux.Errno) { return h(a[0], a[1], a[2]) })
}

// unknown counts the calls that have no handler, by number.
var unknown [linux.MaxSyscall + 1]atomic.Uint32

// Call makes system call num.
func Call(num, a1, a2, a3, a4, a5, a6 uintptr) (uintptr, linux.Errno) {
	if num < uintptr(len(direct)) && tracer == nil {
		if h := direct[num]; h != nil {
			return h(a1, a2, a3)
		}
	}
	a := Args{a1, a2, a3, a4, a5, a6}
	if tracer != nil {
		return tracer(num, &a)
	}
	return dispatch(num, &a)
}

func dispatch(num uintptr, a *Args) (uintptr, linux.Errno) {
	if num >= uintptr(len(table)) {
		return 0, linux.ENOSYS
	}
	h := table[num]
	if h == nil {
		unknown[num].Add(1)
		return 0, linux.ENOSYS
	}
	return h(a)
}

// tracer, when set before the program starts, makes and prints every call.
var tracer func(num uintptr, a *Args) (uintptr, linux.Errno)

func init() {
	platform.SetPoller(
		func(fd int, pd uintptr) linux.Errno { return Files.PollOpen(fd, pd) },
		func(fd int, pd uintptr) linux.Errno { return Files.PollClose(fd) },
	)
}
