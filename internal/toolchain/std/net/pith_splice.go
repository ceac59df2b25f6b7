//go:build pith

package net

import (
	"internal/poll"
	"io"
	"sync"
)

// copyBuffers are pithSplice's buffers. They are eight times as large as io.Copy's, because
// each read and write of a published connection is a host call.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// pithSplice replaces poll.Splice. It copies up to remain bytes from src to dst. It does not
// use splice(2), because a pipe in the library OS would add a copy. handled is always true.
func pithSplice(dst, src *poll.FD, remain int64) (written int64, handled bool, err error) {
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	for written < remain {
		n, err := src.Read(buf[:min(int64(len(buf)), remain-written)])
		if err == io.EOF || n == 0 && err == nil {
			return written, true, nil
		}
		if err != nil {
			return written, true, err
		}
		n, err = dst.Write(buf[:n])
		written += int64(n)
		if err != nil {
			return written, true, err
		}
	}
	return written, true, nil
}
