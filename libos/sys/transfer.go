package sys

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// readFile is read(2) of f: it blocks until there is something, the end or an
// error, or until a socket's SO_RCVTIMEO is over.
func readFile(f file.File, p []byte) (uintptr, linux.Errno) {
	recv, _ := timeouts(f)
	return Block(f, wait.In, recv, func() (uintptr, linux.Errno) {
		n, errno := f.Read(p)
		return uintptr(n), errno
	})
}

// writeFile is write(2) to f: what can block, a pipe or a socket, blocks until
// everything is written (pipe(7), "I/O on pipes and FIFOs").
func writeFile(f file.File, p []byte) (uintptr, linux.Errno) {
	_, send := timeouts(f)
	return transferAll(f, wait.Out, send, uintptr(len(p)), func(done uintptr) (uintptr, linux.Errno) {
		n, errno := f.Write(p[done:])
		if errno == linux.EPIPE {
			brokenPipe()
		}
		return uintptr(n), errno
	})
}

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
