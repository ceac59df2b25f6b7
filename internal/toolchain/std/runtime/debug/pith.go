//go:build pith

package debug

import (
	"errors"
	"os"
	"syscall"
)

// heapDump is the runtime's: it calls write with each piece of a dump of the
// heap.
func heapDump(write func(p []byte) bool)

// WriteHeapDump writes a description of the heap and the objects in it to the
// file descriptor fd, when the dump is complete: until then it is in memory.
func WriteHeapDump(fd uintptr) {
	heapDump(func(p []byte) bool {
		for len(p) > 0 {
			n, err := syscall.Write(int(fd), p)
			if err != nil {
				return false
			}
			p = p[n:]
		}
		return true
	})
}

// SetCrashOutput is refused for a file: when the runtime crashes it can write
// to standard error, but run nothing of the library OS, to which files belong.
func SetCrashOutput(f *os.File, opts CrashOptions) error {
	if f == nil {
		return nil
	}
	return errors.New("runtime/debug: a crash is reported on standard error only")
}
