package dev

import (
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
)

// device is the common part of this package's open devices.
type device struct {
	file.Base
	dentry *vfs.Dentry
}

// Dentry implements vfs.Opened.
func (f *device) Dentry() *vfs.Dentry { return f.dentry }

// Stat implements file.File.
func (f *device) Stat(st *linux.Stat) linux.Errno {
	f.dentry.Inode().Stat(st)
	return 0
}

// Lseek implements file.File. The offset of these devices is always 0.
func (f *device) Lseek(int64, int) (int64, linux.Errno) { return 0, 0 }

// readable returns EBADF when the device was opened write-only.
func (f *device) readable() linux.Errno {
	if f.Flags()&linux.O_ACCMODE == linux.O_WRONLY {
		return linux.EBADF
	}
	return 0
}

// Write implements file.File. It discards the data.
func (f *device) Write(p []byte) (int, linux.Errno) {
	if f.Flags()&linux.O_ACCMODE == linux.O_RDONLY {
		return 0, linux.EBADF
	}
	return len(p), 0
}

// Pwrite implements file.File.
func (f *device) Pwrite(p []byte, _ int64) (int, linux.Errno) { return f.Write(p) }

// null is /dev/null, which reads as empty (null(4)).
type null struct{ device }

func (f *null) Read([]byte) (int, linux.Errno) { return 0, f.readable() }

func (f *null) Pread([]byte, int64) (int, linux.Errno) { return 0, f.readable() }

func (f *null) Release() { f.dentry.Closed(f) }

// zero is /dev/zero, which reads as endless zeros (null(4)).
type zero struct{ device }

func (f *zero) Read(p []byte) (int, linux.Errno) {
	if errno := f.readable(); errno != 0 {
		return 0, errno
	}
	clear(p)
	return len(p), 0
}

func (f *zero) Pread(p []byte, _ int64) (int, linux.Errno) { return f.Read(p) }

// Map implements file.Mapper. A mapping of /dev/zero is anonymous memory.
func (f *zero) Map(_ int64, length uintptr, prot int, _ bool) (unsafe.Pointer, linux.Errno) {
	addr, errno := platform.Map(0, length, prot, 0)
	return platform.Pointer(addr), errno
}

func (f *zero) Release() { f.dentry.Closed(f) }

// full is /dev/full: it reads as zeros, and writes fail with ENOSPC (full(4)).
type full struct{ zero }

func (f *full) Write(p []byte) (int, linux.Errno) {
	if _, errno := f.device.Write(p); errno != 0 {
		return 0, errno
	}
	return 0, linux.ENOSPC
}

func (f *full) Pwrite(p []byte, _ int64) (int, linux.Errno) { return f.Write(p) }

func (f *full) Release() { f.dentry.Closed(f) }

// random is /dev/random and /dev/urandom. Both behave the same and never wait
// (random(4)).
type random struct{ device }

func (f *random) Read(p []byte) (int, linux.Errno) {
	if errno := f.readable(); errno != 0 {
		return 0, errno
	}
	platform.Random(p)
	return len(p), 0
}

func (f *random) Pread(p []byte, _ int64) (int, linux.Errno) { return f.Read(p) }

func (f *random) Release() { f.dentry.Closed(f) }
