package sys

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/trace"
)

// startTrace has every call printed to standard error, and a summary at the
// end. What the runtime asks of the platform, such as futex and mmap of its
// heap, is no system call of the library OS and is not shown.
func startTrace() {
	t := trace.New(writeError)
	tracer = func(num uintptr, a Args) (uintptr, linux.Errno) {
		c := t.Begin(num, &[6]uintptr{a.A0, a.A1, a.A2, a.A3, a.A4, a.A5})
		if num == linux.SYS_EXIT_GROUP {
			t.Summary() // no function of AtExit is called
		}
		r, errno := dispatch(num, a)
		c.End(r, errno)
		return r, errno
	}
	platform.AtExit(t.Summary)
}

// writeError writes all of text to standard error. When that is gone there is
// nobody to tell.
func writeError(text []byte) {
	for len(text) > 0 {
		n, errno := platform.ConsoleWrite(2, text)
		if errno != 0 && errno != linux.EINTR && errno != linux.EAGAIN {
			return
		}
		text = text[n:]
	}
}
