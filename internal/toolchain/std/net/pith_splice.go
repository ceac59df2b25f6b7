//go:build pith

package net

import (
	"internal/poll"
	"io"
	"sync"
)

// copyBuffers are what pithSplice copies through: eight times io.Copy's, as
// each read and write of a published connection is a call of the host.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// pithSplice stands in for poll.Splice: it copies up to remain bytes from one
// connection to another. There is no splice(2), since a pipe in the library OS
// would be one copy more. handled is true: it has begun.
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
