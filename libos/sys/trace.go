package sys

import (
	"github.com/pith-os/pith/libos/console"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/trace"
)

// tracer prints system calls when the boot parameters ask for it.
var tracer *trace.Tracer

// startTrace prints every call to standard error, and a summary at the end. It
// wraps the handlers in the table; register wraps those that come later. What the
// runtime asks of the platform, such as futex and mmap of its heap, is no system
// call of the library OS and does not appear.
func startTrace() {
	stderr := console.Standard(2)
	// When standard error is gone, the trace has nowhere to go.
	tracer = trace.New(func(text []byte) { _, _ = stderr.Write(text) })
	for num, h := range table {
		table[num] = traced(num, h)
	}
	platform.AtExit(tracer.Summary)
}

// traced returns h with its calls printed.
func traced(num int, h call.Handler) call.Handler {
	return func(a *call.Args) (uintptr, linux.Errno) {
		c := tracer.Begin(uintptr(num), &[6]uintptr{a.A0, a.A1, a.A2, a.A3, a.A4, a.A5})
		if num == linux.SYS_EXIT_GROUP {
			tracer.Summary() // this call does not run the functions of AtExit
		}
		r, errno := h(call.NoEscape(a))
		c.End(r, errno)
		return r, errno
	}
}
