// Package call has what the system calls of all subjects share: their arguments,
// the caller's memory, the descriptor table, and waiting. The packages of the
// subjects (files, sockets, …) stand on it; package sys puts their calls into one
// table.
package call

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// Args are the six arguments of a system call.
type Args struct{ A0, A1, A2, A3, A4, A5 uintptr }

// Handler is a system call. It must not keep a: the arguments are on the stack
// of the caller, which the compiler does not know (see NoEscape). A test checks
// every handler for that.
type Handler func(a *Args) (uintptr, linux.Errno)

// Entry is the handler of one system call.
//
// Lists of entries must be static data: function names and literals that capture
// nothing. Otherwise the compiler fills them in an init function, and the linker
// keeps every handler in every image. A test checks the lists. Entry is an alias,
// so that lists need not repeat the names of the fields.
type Entry = struct {
	Num int // linux.SYS_*
	Do  Handler
}

// NoEscape hides a pointer from escape analysis, which cannot see through the
// table and would allocate each call's arguments. It is small enough to be
// inlined.
func NoEscape(a *Args) *Args {
	addr := uintptr(unsafe.Pointer(a))
	return *(**Args)(unsafe.Pointer(&addr))
}

// NotPermitted is the handler of a call that is always refused.
func NotPermitted(*Args) (uintptr, linux.Errno) { return 0, linux.EPERM }
