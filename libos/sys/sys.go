// Package sys is the system call table: Linux system calls as functions. The
// packages below it have the calls, by subject, and decode arguments, find the
// file, and block where Linux blocks. What files do is in their own packages.
// Package syscall looks handlers up and calls them on the calling goroutine.
package sys

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
)

// table has a handler for each call. The last one is for all numbers that Linux
// does not have either.
var table = unsupported()

func unsupported() (t [linux.MaxSyscall + 2]call.Handler) {
	for num := range t {
		t[num] = func(*call.Args) (uintptr, linux.Errno) { return 0, linux.ENOSYS }
	}
	return t
}

// register puts calls into the table.
func register(lists ...[]call.Entry) {
	for _, calls := range lists {
		for _, c := range calls {
			h := c.Do
			if tracer != nil {
				h = traced(c.Num, h)
			}
			table[c.Num] = h
		}
	}
}

// Lookup returns the handler of system call num; every number has one. It is
// small enough to be inlined.
func Lookup(num uintptr) call.Handler { return table[min(num, linux.MaxSyscall+1)] }

// Call makes system call num.
func Call(num, a0, a1, a2, a3, a4, a5 uintptr) (uintptr, linux.Errno) {
	return Lookup(num)(call.NoEscape(&call.Args{A0: a0, A1: a1, A2: a2, A3: a3, A4: a4, A5: a5}))
}
