package block

import (
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
)

// File is a disk opened as a block device. It behaves like one of Linux, except
// that it cannot be mapped, because there is no page cache.
type File struct {
	file.Base
	disk   *Disk
	dentry *vfs.Dentry
	mu     sync.Mutex // guards off, and serialises calls that use the offset
	off    int64
}

// NewFile returns the disk opened under the name of d.
func NewFile(disk *Disk, d *vfs.Dentry) *File { return &File{disk: disk, dentry: d} }

// Dentry implements vfs.Opened.
func (f *File) Dentry() *vfs.Dentry { return f.dentry }

// Release implements file.File.
func (f *File) Release() { f.dentry.Closed(f) }

// Stat implements file.File.
func (f *File) Stat(st *linux.Stat) linux.Errno {
	f.dentry.Inode().Stat(st)
	return 0
}

// Read implements file.File.
func (f *File) Read(p []byte) (int, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, errno := f.Pread(p, f.off)
	f.off += int64(n)
	return n, errno
}

// Pread implements file.File.
func (f *File) Pread(p []byte, off int64) (int, linux.Errno) {
	if f.Flags()&linux.O_ACCMODE == linux.O_WRONLY {
		return 0, linux.EBADF
	}
	n, errno := f.disk.ReadAt(p, off)
	if n > 0 {
		return n, 0
	}
	return 0, errno
}

// Write implements file.File.
func (f *File) Write(p []byte) (int, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, end, errno := f.write(p, f.off)
	if n > 0 {
		f.off = end
	}
	return n, errno
}

// Pwrite implements file.File.
func (f *File) Pwrite(p []byte, off int64) (int, linux.Errno) {
	n, _, errno := f.write(p, off)
	return n, errno
}

// write also returns the offset after the written data. O_APPEND has no effect
// on a disk.
func (f *File) write(p []byte, off int64) (n int, end int64, errno linux.Errno) {
	flags := f.Flags()
	if flags&linux.O_ACCMODE == linux.O_RDONLY {
		return 0, 0, linux.EBADF
	}
	n, errno = f.disk.WriteAt(p, off)
	if n > 0 && flags&linux.O_DSYNC != 0 {
		if errno := f.disk.Flush(); errno != 0 {
			return 0, 0, errno
		}
	}
	if n > 0 {
		errno = 0
	}
	return n, off + int64(n), errno
}

// Lseek implements file.File.
func (f *File) Lseek(off int64, whence int) (int64, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := f.disk.Size()
	switch whence {
	case linux.SEEK_SET:
	case linux.SEEK_CUR:
		off = linux.AddSaturated(f.off, off)
	case linux.SEEK_END:
		off = linux.AddSaturated(size, off)
	default:
		return 0, linux.EINVAL
	}
	if off < 0 || off > size {
		return 0, linux.EINVAL
	}
	f.off = off
	return off, 0
}

// Sync implements file.File.
func (f *File) Sync() linux.Errno { return f.disk.Flush() }

// Fallocate implements vfs.Allocator. Disks are always fully allocated, but
// ranges can be zeroed.
func (f *File) Fallocate(mode uint32, off, n int64) linux.Errno {
	const keep = linux.FALLOC_FL_KEEP_SIZE
	switch mode {
	case linux.FALLOC_FL_ZERO_RANGE, linux.FALLOC_FL_ZERO_RANGE | keep:
		return f.disk.WriteZeroes(off, n, false)
	case linux.FALLOC_FL_PUNCH_HOLE | keep:
		return f.disk.WriteZeroes(off, n, true)
	}
	return linux.EOPNOTSUPP
}

// Requests of ioctl(2) (include/uapi/linux/fs.h).
const (
	blkROGet       = 0x125e
	blkGetSize     = 0x1260
	blkFlushBuf    = 0x1261
	blkSectorSize  = 0x1268
	blkDiscard     = 0x1277
	blkIOMin       = 0x1278
	blkIOOpt       = 0x1279
	blkAlignOff    = 0x127a
	blkPhysical    = 0x127b
	blkDiscardZero = 0x127c
	blkZeroOut     = 0x127f
	blkGetSize64   = 0x80081272
)

// Ioctl implements file.File.
func (f *File) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	d := f.disk
	switch req {
	case blkGetSize64:
		return put(arg, uint64(d.Size()))
	case blkGetSize:
		return put(arg, uint64(d.Size()/sector))
	case blkSectorSize:
		return put(arg, int32(d.blockSize))
	case blkPhysical:
		return put(arg, uint32(d.physical))
	case blkIOMin:
		return put(arg, uint32(max(d.minIO, d.physical)))
	case blkIOOpt:
		return put(arg, uint32(d.optIO))
	case blkAlignOff:
		return put(arg, int32(d.alignmentOffset))
	case blkROGet:
		ro := int32(0)
		if d.readOnly {
			ro = 1
		}
		return put(arg, ro)
	case blkDiscardZero:
		return put(arg, uint32(0)) // discarded data need not read as zero
	case blkFlushBuf:
		return 0, d.Flush()
	case blkDiscard, blkZeroOut:
		return 0, f.clearRange(req, arg)
	}
	return 0, linux.ENOTTY
}

// clearRange is BLKDISCARD and BLKZEROOUT. arg points to offset and length.
func (f *File) clearRange(req uint, arg uintptr) linux.Errno {
	if f.Flags()&linux.O_ACCMODE == linux.O_RDONLY {
		return linux.EBADF
	}
	if arg < platform.PageSize {
		return linux.EFAULT
	}
	r := *(*[2]uint64)(platform.Pointer(arg))
	if r[0] > maxSize || r[1] > maxSize {
		return linux.EINVAL
	}
	if req == blkDiscard {
		return f.disk.Discard(int64(r[0]), int64(r[1]))
	}
	return f.disk.WriteZeroes(int64(r[0]), int64(r[1]), false)
}

// put stores v at the program's address addr.
func put[T any](addr uintptr, v T) (uintptr, linux.Errno) {
	if addr < platform.PageSize {
		return 0, linux.EFAULT
	}
	*(*T)(platform.Pointer(addr)) = v
	return 0, 0
}
