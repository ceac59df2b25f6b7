package call

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// Files is the table of file descriptors.
var Files file.Table

// Umask is the file mode creation mask.
var Umask atomic.Uint32

func init() { Umask.Store(0o022) }

// FD returns a descriptor argument: an int in C.
func FD(a uintptr) int { return int(int32(a)) }

// File returns the open file of descriptor argument a, or EBADF.
func File(a uintptr) (file.File, linux.Errno) {
	if f := Files.Get(FD(a)); f != nil {
		return f, 0
	}
	return nil, linux.EBADF
}

// Install gives the new file f the lowest free descriptor. If flags has
// O_CLOEXEC, so has the descriptor. Without a free descriptor, Install releases f
// and returns EMFILE.
func Install(f file.File, flags uint32) (uintptr, linux.Errno) {
	fd, errno := Files.Install(f, 0, flags&linux.O_CLOEXEC != 0)
	if errno != 0 {
		f.Release()
	}
	return uintptr(fd), errno
}

// InstallPair gives two new files descriptors, both or none, and stores their
// numbers at out.
func InstallPair(out *[2]int32, a, b file.File, flags uint32) linux.Errno {
	fdA, errno := Install(a, flags)
	if errno != 0 {
		b.Release()
		return errno
	}
	fdB, errno := Install(b, flags)
	if errno != 0 {
		Files.Close(int(fdA))
		return errno
	}
	*out = [2]int32{int32(fdA), int32(fdB)}
	return 0
}
