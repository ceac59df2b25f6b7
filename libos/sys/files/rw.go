package files

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/sys/sockets"
	"github.com/pith-os/pith/libos/wait"
)

// sysRead is the hot path of the library OS: no lock, no allocation.
func sysRead(a *call.Args) (uintptr, linux.Errno) {
	f := call.Files.Get(call.FD(a.A0))
	if f == nil {
		return 0, linux.EBADF
	}
	p, errno := call.Bytes(a.A1, min(a.A2, linux.MAX_RW_COUNT))
	if errno != 0 {
		return 0, errno
	}
	got, errno := f.Read(p)
	if errno == linux.EAGAIN {
		return readFile(f, p)
	}
	return uintptr(got), errno
}

func sysWrite(a *call.Args) (uintptr, linux.Errno) {
	f := call.Files.Get(call.FD(a.A0))
	if f == nil {
		return 0, linux.EBADF
	}
	p, errno := call.Bytes(a.A1, min(a.A2, linux.MAX_RW_COUNT))
	if errno != 0 {
		return 0, errno
	}
	put, errno := f.Write(p)
	if errno == 0 && put == len(p) {
		return uintptr(put), 0
	}
	return writeOn(f, p, uintptr(put), errno)
}

// readFile is read(2) of f. It blocks until there is data, the end or an error, or
// until a socket's SO_RCVTIMEO is over.
func readFile(f file.File, p []byte) (uintptr, linux.Errno) {
	recv, _ := call.Timeouts(f)
	return call.Block(f, wait.In|wait.RdHup, recv, func() (uintptr, linux.Errno) {
		n, errno := f.Read(p)
		return uintptr(n), errno
	})
}

// writeFile is write(2) to f. A pipe or a socket blocks until everything is written
// (pipe(7), "I/O on pipes and FIFOs").
func writeFile(f file.File, p []byte) (uintptr, linux.Errno) {
	n, errno := f.Write(p)
	return writeOn(f, p, uintptr(n), errno)
}

// writeOn finishes a write whose first try wrote n bytes, or failed with errno.
func writeOn(f file.File, p []byte, n uintptr, errno linux.Errno) (uintptr, linux.Errno) {
	switch {
	case errno == linux.EPIPE:
		call.BrokenPipe()
		return 0, errno
	case n == uintptr(len(p)) || errno != 0 && errno != linux.EAGAIN,
		f.Watch() == nil || f.Flags()&linux.O_NONBLOCK != 0:
		return n, errno
	}
	_, send := call.Timeouts(f)
	more, errno := call.TransferAll(f, wait.Out, send, uintptr(len(p))-n, func(done uintptr) (uintptr, linux.Errno) {
		put, errno := f.Write(p[n+done:])
		if errno == linux.EPIPE {
			call.BrokenPipe()
		}
		return uintptr(put), errno
	})
	if n > 0 {
		errno = 0
	}
	return n + more, errno
}

func pread(a *call.Args) (uintptr, linux.Errno) {
	f, p, errno := fileAndBytes(a)
	if errno != 0 {
		return 0, errno
	}
	n, errno := f.Pread(p, int64(a.A3))
	return uintptr(n), errno
}

func pwrite(a *call.Args) (uintptr, linux.Errno) {
	f, p, errno := fileAndBytes(a)
	if errno != 0 {
		return 0, errno
	}
	n, errno := f.Pwrite(p, int64(a.A3))
	return uintptr(n), errno
}

// fileAndBytes returns the file and buffer of pread(2) and pwrite(2). It checks the
// offset first, as Linux does.
func fileAndBytes(a *call.Args) (file.File, []byte, linux.Errno) {
	if int64(a.A3) < 0 {
		return nil, nil, linux.EINVAL
	}
	f, errno := call.File(a.A0)
	if errno != 0 {
		return nil, nil, errno
	}
	p, errno := call.Bytes(a.A1, min(a.A2, linux.MAX_RW_COUNT))
	return f, p, errno
}

// transfer calls step for each part until one is incomplete. Without parts it calls
// step once with nil, for the file's errors.
func transfer(parts [][]byte, step func(p []byte) (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	if len(parts) == 0 {
		return step(nil)
	}
	total := uintptr(0)
	for _, p := range parts {
		n, errno := step(p)
		total += n
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if errno != 0 || n < uintptr(len(p)) {
			break
		}
	}
	return total, 0
}

// gatherMost is the largest buffer for gathered parts, in bytes.
const gatherMost = 1 << 20

// transferGathered is transfer with the parts gathered in one buffer. So a write of up
// to gatherMost bytes is one call of the file: other writes do not come between.
func transferGathered(parts [][]byte, step func(p []byte) (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	if len(parts) < 2 {
		return transfer(parts, step)
	}
	m := socket.Message{Data: parts}
	buf := make([]byte, min(m.Len(), gatherMost))
	total := uintptr(0)
	for m.Len() > 0 {
		n := m.Gather(buf, 0)
		put, errno := step(buf[:n])
		total += put
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if errno != 0 || put < uintptr(n) {
			break
		}
		m.Advance(n)
	}
	return total, 0
}

func readv(a *call.Args) (uintptr, linux.Errno) {
	f, parts, errno := fileAndVectors(a)
	if errno != 0 {
		return 0, errno
	}
	if s, ok := f.(socket.Socket); ok {
		return sockets.Readv(s, parts)
	}
	return readParts(f, parts)
}

// readParts waits for the first part only. Later data is for the next call.
func readParts(f file.File, parts [][]byte) (uintptr, linux.Errno) {
	first := true
	return transfer(parts, func(p []byte) (uintptr, linux.Errno) {
		n, errno := f.Read(p)
		if errno == linux.EAGAIN && first {
			return readFile(f, p)
		}
		first = false
		return uintptr(n), errno
	})
}

func writev(a *call.Args) (uintptr, linux.Errno) {
	f, parts, errno := fileAndVectors(a)
	if errno != 0 {
		return 0, errno
	}
	if s, ok := f.(socket.Socket); ok {
		return sockets.Writev(s, parts)
	}
	return transferGathered(parts, func(p []byte) (uintptr, linux.Errno) { return writeFile(f, p) })
}

func fileAndVectors(a *call.Args) (file.File, [][]byte, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return nil, nil, errno
	}
	parts, errno := call.Vectors(a.A1, a.A2)
	return f, parts, errno
}

func preadv(a *call.Args) (uintptr, linux.Errno) {
	if int64(a.A3) < 0 {
		return 0, linux.EINVAL
	}
	f, parts, errno := fileAndVectors(a)
	if errno != 0 {
		return 0, errno
	}
	off := int64(a.A3)
	return transfer(parts, func(p []byte) (uintptr, linux.Errno) {
		n, errno := f.Pread(p, off)
		off += int64(n)
		return uintptr(n), errno
	})
}

func pwritev(a *call.Args) (uintptr, linux.Errno) {
	if int64(a.A3) < 0 {
		return 0, linux.EINVAL
	}
	f, parts, errno := fileAndVectors(a)
	if errno != 0 {
		return 0, errno
	}
	off := int64(a.A3)
	return transferGathered(parts, func(p []byte) (uintptr, linux.Errno) {
		n, errno := f.Pwrite(p, off)
		off += int64(n)
		return uintptr(n), errno
	})
}

// rwfHints are the flags of preadv2(2) that change nothing here: hints and
// durability. RWF_NOWAIT and RWF_APPEND do change the call, and are refused.
const rwfHints = linux.RWF_HIPRI | linux.RWF_DSYNC | linux.RWF_SYNC

func preadv2(a *call.Args) (uintptr, linux.Errno) {
	switch {
	case a.A5&^rwfHints != 0:
		return 0, linux.EOPNOTSUPP
	case int64(a.A3) == -1:
		return readv(a)
	}
	return preadv(a)
}

func pwritev2(a *call.Args) (uintptr, linux.Errno) {
	switch {
	case a.A5&^rwfHints != 0:
		return 0, linux.EOPNOTSUPP
	case int64(a.A3) == -1:
		return writev(a)
	}
	return pwritev(a)
}

func lseek(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	off, errno := f.Lseek(int64(a.A1), int(uint32(a.A2)))
	return uintptr(off), errno
}
