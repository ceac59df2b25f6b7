package memfs

import (
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// openFile is an open regular file.
type openFile struct {
	file.Base
	r      *regular
	dentry *vfs.Dentry
	mu     sync.Mutex // guards off, and serialises calls that use the offset
	off    int64
}

// Open implements vfs.Inode.
func (r *regular) Open(d *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	f := &openFile{r: r, dentry: d}
	f.Init(flags)
	r.Pin()
	return f, 0
}

// Pin counts an open file, which keeps the data after the last name is removed.
func (r *regular) Pin() {
	r.mu.Lock()
	r.opens++
	r.mu.Unlock()
}

// Unpin undoes Pin.
func (r *regular) Unpin() {
	r.mu.Lock()
	r.opens--
	r.mu.Unlock()
	r.reclaim()
}

// Dentry implements vfs.Opened.
func (f *openFile) Dentry() *vfs.Dentry { return f.dentry }

func (f *openFile) readable() bool { return f.Flags()&linux.O_ACCMODE != linux.O_WRONLY }

func (f *openFile) writable() bool { return f.Flags()&linux.O_ACCMODE != linux.O_RDONLY }

// Read implements file.File.
func (f *openFile) Read(p []byte) (int, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, errno := f.Pread(p, f.off)
	f.off += int64(n)
	return n, errno
}

// Pread implements file.File.
func (f *openFile) Pread(p []byte, off int64) (int, linux.Errno) {
	if !f.readable() {
		return 0, linux.EBADF
	}
	n := f.r.read(p, off)
	f.r.Accessed(f.Flags())
	if n > 0 {
		f.dentry.Notify(linux.IN_ACCESS)
	}
	return n, 0
}

func (r *regular) read(p []byte, off int64) int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.readAt(p, off)
}

// Write implements file.File.
func (f *openFile) Write(p []byte) (int, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, end, errno := f.write(p, f.off)
	if errno == 0 && len(p) > 0 {
		f.off = end
	}
	return n, errno
}

// Pwrite implements file.File.
func (f *openFile) Pwrite(p []byte, off int64) (int, linux.Errno) {
	n, _, errno := f.write(p, off)
	return n, errno
}

// write writes at off, or at the end of a file opened with O_APPEND. It returns
// the offset after the written data.
func (f *openFile) write(p []byte, off int64) (n int, end int64, errno linux.Errno) {
	if !f.writable() {
		return 0, 0, linux.EBADF
	}
	n, end, errno = f.r.write(p, off, f.Flags()&linux.O_APPEND != 0)
	if n > 0 {
		f.dentry.Notify(linux.IN_MODIFY)
	}
	return n, end, errno
}

func (r *regular) write(p []byte, off int64, atEnd bool) (n int, end int64, errno linux.Errno) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if atEnd {
		off = r.size
	}
	n, errno = r.writeAt(p, off)
	return n, off + int64(n), errno
}

// Lseek implements file.File.
func (f *openFile) Lseek(off int64, whence int) (int64, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.r.mu.RLock()
	defer f.r.mu.RUnlock()
	var errno linux.Errno
	switch whence {
	case linux.SEEK_SET:
	case linux.SEEK_CUR:
		off += f.off
	case linux.SEEK_END:
		off += f.r.size
	case linux.SEEK_DATA, linux.SEEK_HOLE:
		off, errno = f.r.seek(off, whence == linux.SEEK_DATA)
	default:
		errno = linux.EINVAL
	}
	if errno != 0 {
		return 0, errno
	}
	if off < 0 {
		return 0, linux.EINVAL
	}
	f.off = off
	return off, 0
}

// Stat implements file.File.
func (f *openFile) Stat(st *linux.Stat) linux.Errno {
	f.r.Stat(st)
	return 0
}

// Truncate implements file.File.
func (f *openFile) Truncate(size int64) linux.Errno {
	if !f.writable() {
		return linux.EINVAL
	}
	if errno := f.r.SetAttr(&vfs.Attr{Valid: vfs.AttrSize, Size: size}); errno != 0 {
		return errno
	}
	f.dentry.Notify(linux.IN_MODIFY)
	return 0
}

// Fallocate implements vfs.Allocator.
func (f *openFile) Fallocate(mode uint32, off, n int64) linux.Errno {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	return f.r.fallocate(mode, off, n)
}

// Sync implements file.File. There is no storage to write to.
func (f *openFile) Sync() linux.Errno { return 0 }

// Release implements file.File.
func (f *openFile) Release() {
	f.dentry.Closed(f)
	f.r.Unpin()
}
