//go:build pith

package debug

import (
	"errors"
	"os"
	"syscall"
)

// heapDump dumps the heap and calls write with each piece of the dump. Package runtime
// implements it.
func heapDump(write func(p []byte) bool)

// WriteHeapDump writes a description of the heap and the objects in it to the file
// descriptor fd. It first collects the complete dump in memory.
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

// SetCrashOutput returns an error for a file. Files belong to the library OS, which a
// crashing runtime cannot call. It can only write to standard error.
func SetCrashOutput(f *os.File, opts CrashOptions) error {
	if f == nil {
		return nil
	}
	return errors.New("runtime/debug: a crash is reported on standard error only")
}
