package sys

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// timeouts are those of a socket; other files have none.
func timeouts(f file.File) (recv, send int64) {
	if s, ok := f.(socket.Socket); ok {
		return s.Timeouts()
	}
	return -1, -1
}

// transferAll calls try with the number of bytes done until all are, blocking
// when f is not O_NONBLOCK. An error after the first byte is left to the next
// call.
func transferAll(f file.File, events wait.Events, timeout int64, all uintptr, try func(done uintptr) (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	done := uintptr(0)
	for {
		n, errno := Block(f, events, timeout, func() (uintptr, linux.Errno) { return try(done) })
		done += n
		switch {
		case errno != 0 && done == 0:
			return 0, errno
		case errno != 0 || n == 0 || done >= all || f.Watch() == nil || f.Flags()&linux.O_NONBLOCK != 0:
			return done, 0
		}
	}
}

// brokenPipe sends the signal that goes with EPIPE. The Go runtime ignores it
// unless the program asked for it, and package os ends the program itself when
// the pipe was its standard output (os/signal, "SIGPIPE").
func brokenPipe() { platform.Raise(linux.SIGPIPE) }
