//go:build pith

package net

import (
	"internal/poll"
	"sync"
	"syscall"
)

// copyBuffer is a buffer of pithSplice. It is eight times as large as io.Copy's, because
// each read and write of a connection of the host is a host call.
type copyBuffer [256 << 10]byte

var copyBuffers = sync.Pool{New: func() any { return new(copyBuffer) }}

// pithSplice replaces poll.Splice. It copies up to remain bytes from src to dst. It does not
// use splice(2), because a pipe in the library OS would add a copy. handled is always true.
//
// A copy that waits for src holds no buffer: a proxy may have thousands of them.
func pithSplice(dst, src *poll.FD, remain int64) (written int64, handled bool, err error) {
	for written < remain {
		buf, n, err := readSome(src, remain-written)
		if err != nil || n == 0 {
			return written, true, err
		}
		n, err = dst.Write(buf[:n])
		copyBuffers.Put(buf)
		written += int64(n)
		if err != nil {
			return written, true, err
		}
	}
	return written, true, nil
}

// readSome reads up to most bytes. At the end of the data, and with an error, there is no
// buffer.
func readSome(src *poll.FD, most int64) (buf *copyBuffer, n int, err error) {
	var failed error
	err = src.RawRead(func(fd uintptr) bool {
		buf = copyBuffers.Get().(*copyBuffer)
		for {
			n, failed = syscall.Read(int(fd), buf[:min(int64(len(buf)), most)])
			if failed != syscall.EINTR {
				break
			}
		}
		if n <= 0 {
			copyBuffers.Put(buf)
			buf = nil
		}
		return failed != syscall.EAGAIN
	})
	if err == nil {
		err = failed
	}
	return buf, max(n, 0), err
}
