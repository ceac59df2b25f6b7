// Package file has the interface that every kind of open file implements, and the
// table of file descriptors.
//
// Files never block. A call that cannot continue returns EAGAIN, and the file's queue
// announces when to try again. Package sys/call blocks, in one place, for descriptors
// that are not O_NONBLOCK. As in Linux, disks and shared folders are the exception:
// they have no queue, and park the caller until the device answers, whatever the
// descriptor's flags.
package file

import (
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// File is an open file description (open(2)): open, socket and pipe make one, and dup
// shares it. Implementations embed Base and override what they can do. All methods may
// be called concurrently, even after Release: they then fail or find nothing. The
// garbage collector makes that safe.
type File interface {
	// Read and Write are for streams and for files with an offset. They return
	// EAGAIN instead of blocking. Read returns 0 at the end.
	Read(p []byte) (int, linux.Errno)
	Write(p []byte) (int, linux.Errno)
	// Pread and Pwrite do not use the file's offset; ESPIPE on streams.
	Pread(p []byte, off int64) (int, linux.Errno)
	Pwrite(p []byte, off int64) (int, linux.Errno)
	Lseek(off int64, whence int) (int64, linux.Errno)
	Stat(st *linux.Stat) linux.Errno
	Truncate(size int64) linux.Errno
	Sync() linux.Errno
	// Ioctl's arg is the caller's third argument, a pointer or a number.
	Ioctl(req uint, arg uintptr) (uintptr, linux.Errno)

	// Ready returns the level: what is possible now.
	Ready() wait.Events
	// Watch returns the queue that announces edges. It returns nil for a file that
	// is always ready: epoll and the runtime's poller refuse it with EPERM.
	Watch() *wait.Queue

	// Release is called once, when the last descriptor is closed.
	Release()

	// Flags returns the access mode and status flags (F_GETFL).
	Flags() uint32
	// SetFlags replaces the status flags that F_SETFL may change.
	SetFlags(flags uint32)
}

// settable are the flags that F_SETFL may change (fcntl(2)).
const settable = linux.O_APPEND | linux.O_NONBLOCK | linux.O_DIRECT | linux.O_NOATIME

// Base implements every method for a file that cannot do it.
type Base struct{ flags atomic.Uint32 }

// Init sets access mode and status flags when the file is opened.
func (b *Base) Init(flags uint32) { b.flags.Store(flags) }

// Flags implements File.
func (b *Base) Flags() uint32 { return b.flags.Load() }

// SetFlags implements File.
func (b *Base) SetFlags(flags uint32) {
	for {
		old := b.flags.Load()
		if b.flags.CompareAndSwap(old, old&^settable|flags&settable) {
			return
		}
	}
}

// Read implements File.
func (*Base) Read([]byte) (int, linux.Errno) { return 0, linux.EINVAL }

// Write implements File.
func (*Base) Write([]byte) (int, linux.Errno) { return 0, linux.EINVAL }

// Pread implements File.
func (*Base) Pread([]byte, int64) (int, linux.Errno) { return 0, linux.ESPIPE }

// Pwrite implements File.
func (*Base) Pwrite([]byte, int64) (int, linux.Errno) { return 0, linux.ESPIPE }

// Lseek implements File.
func (*Base) Lseek(int64, int) (int64, linux.Errno) { return 0, linux.ESPIPE }

// Truncate implements File.
func (*Base) Truncate(int64) linux.Errno { return linux.EINVAL }

// Sync implements File.
func (*Base) Sync() linux.Errno { return linux.EINVAL }

// Ioctl implements File.
func (*Base) Ioctl(uint, uintptr) (uintptr, linux.Errno) { return 0, linux.ENOTTY }

// Ready implements File.
func (*Base) Ready() wait.Events { return wait.In | wait.Out }

// Watch implements File.
func (*Base) Watch() *wait.Queue { return nil }

// Release implements File.
func (*Base) Release() {}

// Mapper is a File that mmap(2) accepts.
type Mapper interface {
	// Map returns the address of length bytes of the file from offset off, a
	// multiple of the page size. prot is PROT_*; shared means MAP_SHARED, else
	// MAP_PRIVATE. Package mm unmaps.
	Map(off int64, length uintptr, prot int, shared bool) (unsafe.Pointer, linux.Errno)
}

// Pollable is a File of a host descriptor. The runtime's poller attaches to it
// directly, without a wait.Entry.
type Pollable interface {
	// PollOpen and PollClose attach and detach the runtime's pollDesc pd.
	PollOpen(pd uintptr) linux.Errno
	PollClose(pd uintptr)
}
