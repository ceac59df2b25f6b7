package sys

import (
	"github.com/pith-os/pith/libos/console"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/trace"
)

// tracer prints system calls when the boot parameters ask for it.
var tracer *trace.Tracer

// startTrace has every call printed to standard error, and a summary at the
// end: those registered already, and by Register those to come. What the
// runtime asks of the platform, such as futex and mmap of its heap, is no system
// call of the library OS and is not shown.
func startTrace() {
	stderr := console.Standard(2)
	// When standard error is gone there is nobody to tell.
	tracer = trace.New(func(text []byte) { _, _ = stderr.Write(text) })
	for num, h := range table {
		table[num] = traced(num, h)
	}
	platform.AtExit(tracer.Summary)
}

// traced is h with its calls printed.
func traced(num int, h Handler) Handler {
	return func(a *Args) (uintptr, linux.Errno) {
		c := tracer.Begin(uintptr(num), &[6]uintptr{a.A0, a.A1, a.A2, a.A3, a.A4, a.A5})
		if num == linux.SYS_EXIT_GROUP {
			tracer.Summary() // no function of AtExit is called
		}
		r, errno := h(NoEscape(a))
		c.End(r, errno)
		return r, errno
	}
}
