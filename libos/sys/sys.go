// Package sys is the system call table: Linux system calls as functions. It
// decodes arguments, finds the file, and blocks where Linux would block; what
// files do is in their own packages. Package syscall looks handlers up and calls
// them on the calling goroutine.
package sys

import (
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Files is the table of file descriptors.
var Files file.Table

// Args are the six arguments of a system call.
type Args struct{ A0, A1, A2, A3, A4, A5 uintptr }

// Handler is a system call. It must not keep a: the arguments are in the stack
// of the caller, which the compiler does not know (see NoEscape). A test holds
// every handler to it.
type Handler func(a *Args) (uintptr, linux.Errno)

// table has a handler for each call, and one at the end for all numbers that
// Linux does not have either. Each file of this package registers its own, in
// init or for Everything.
var table = unsupported()

func unsupported() (t [linux.MaxSyscall + 2]Handler) {
	for num := range t {
		t[num] = func(*Args) (uintptr, linux.Errno) { return 0, linux.ENOSYS }
	}
	return t
}

// Register sets the handler of num. Package inet, which is in the image only
// when the program reaches package net, adds its own in its init. Inlined, it
// would make a closure of traced at each of some three hundred places.
//
//go:noinline
func Register(num int, h Handler) {
	if tracer != nil {
		h = traced(num, h)
	}
	table[num] = h
}

// Lookup is the handler of system call num, whatever the number. It and NoEscape
// are small enough to become part of their callers.
func Lookup(num uintptr) Handler { return table[min(num, linux.MaxSyscall+1)] }

// NoEscape hides a pointer from escape analysis, which cannot see through the
// table and would have each call's arguments allocated.
func NoEscape(a *Args) *Args {
	addr := uintptr(unsafe.Pointer(a))
	return *(**Args)(unsafe.Pointer(&addr))
}

// Call makes system call num.
func Call(num, a0, a1, a2, a3, a4, a5 uintptr) (uintptr, linux.Errno) {
	return Lookup(num)(NoEscape(&Args{a0, a1, a2, a3, a4, a5}))
}

func init() { platform.SetPoller(Files.PollOpen, Files.PollClose) }
