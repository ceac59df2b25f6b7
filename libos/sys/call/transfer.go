package call

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// Timeouts returns the receive and send timeouts of a socket, in nanoseconds.
// Other files have none: -1.
func Timeouts(f file.File) (recv, send int64) {
	if s, ok := f.(socket.Socket); ok {
		return s.Timeouts()
	}
	return -1, -1
}

// TransferAll calls try with the number of bytes done until all are done. It
// blocks if f is not O_NONBLOCK. It leaves an error after the first byte to the
// next call.
func TransferAll(f file.File, events wait.Events, timeout int64, all uintptr, try func(done uintptr) (uintptr, linux.Errno)) (uintptr, linux.Errno) {
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

// BrokenPipe sends the signal that goes with EPIPE. The Go runtime ignores it
// unless the program asks for it. Package os ends the program itself if the pipe
// is its standard output (os/signal, "SIGPIPE").
func BrokenPipe() { platform.Raise(linux.SIGPIPE) }
