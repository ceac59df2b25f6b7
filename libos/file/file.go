// Package file is what a file descriptor stands for: the interface that every
// kind of open file implements, and the table of descriptors.
//
// Files never block. A call that cannot go on returns EAGAIN and the file's
// queue tells when to try again; package sys blocks, in one place, for
// descriptors that are not O_NONBLOCK. As in Linux, disks and folders of the host
// are the exception: they have no queue, and park the caller until the device
// has answered, whatever the descriptor's flags.
package file

import (
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// File is an open file description (open(2)): what open, socket or pipe make
// and dup shares. Implementations embed Base and override what they can do.
// All methods may be called concurrently, also after Release, which the
// garbage collector makes safe: they must then fail or find nothing.
type File interface {
	// Read and Write are for streams and for files with an offset. They
	// return EAGAIN when they would block; Read returns 0 at the end.
	Read(p []byte) (int, linux.Errno)
	Write(p []byte) (int, linux.Errno)
	// Pread and Pwrite do not touch the offset; ESPIPE on streams.
	Pread(p []byte, off int64) (int, linux.Errno)
	Pwrite(p []byte, off int64) (int, linux.Errno)
	Lseek(off int64, whence int) (int64, linux.Errno)
	Stat(st *linux.Stat) linux.Errno
	Truncate(size int64) linux.Errno
	Sync() linux.Errno
	// Ioctl's arg is the caller's third argument, a pointer or a number.
	Ioctl(req uint, arg uintptr) (uintptr, linux.Errno)

	// Ready is the level: what is possible now.
	Ready() wait.Events
	// Watch is the queue that tells edges; nil for a file that is always
	// ready, which epoll and the runtime's poller refuse with EPERM.
	Watch() *wait.Queue

	// Release is called once, when the last descriptor goes.
	Release()

	// Flags are the access mode and status flags of F_GETFL.
	Flags() uint32
	// SetFlags replaces the status flags that F_SETFL may change.
	SetFlags(flags uint32)
}

// settable are the flags that F_SETFL may change (fcntl(2)).
const settable = linux.O_APPEND | linux.O_NONBLOCK | linux.O_DIRECT | linux.O_NOATIME

// Base gives every method its answer for a file that cannot do it.
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
	// multiple of the page size. prot is PROT_*; shared tells MAP_SHARED from
	// MAP_PRIVATE. Unmapping is the address space's business.
	Map(off int64, length uintptr, prot int, shared bool) (unsafe.Pointer, linux.Errno)
}

// Pollable is a File to which the runtime's poller is attached directly,
// without a wait.Entry: one that stands for a host descriptor.
type Pollable interface {
	// PollOpen and PollClose attach and detach the runtime's pollDesc pd.
	PollOpen(pd uintptr) linux.Errno
	PollClose(pd uintptr)
}
