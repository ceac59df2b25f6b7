package vfs

import (
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// DirFile is an open directory. Every file system uses it.
type DirFile struct {
	file.Base
	dentry *Dentry
	dir    Dir
	stream Stream // nil: dir.List has the entries
	mu     sync.Mutex
	pos    int64 // position of Dir.List plus dots, or position of stream
}

// dots is the offset that "." and ".." add to the positions of a directory's
// entries.
const dots = 2

// OpenDir makes the file that a directory's Inode.Open returns.
func OpenDir(d *Dentry, flags uint32) *DirFile {
	f := &DirFile{dentry: d, dir: d.inode.(Dir)}
	f.Init(flags)
	return f
}

// OpenStream is OpenDir for a directory that is a Streamer.
func OpenStream(d *Dentry, flags uint32) (file.File, linux.Errno) {
	f := OpenDir(d, flags)
	s, errno := d.inode.(Streamer).Stream()
	if errno != 0 {
		return nil, errno
	}
	f.stream = s
	return f, 0
}

// Dentry implements Opened.
func (f *DirFile) Dentry() *Dentry { return f.dentry }

// ReadDir calls fn for the entries from the file's offset on, until fn returns
// false. The next call starts with the entry that fn refused. DirEntry.Next is
// the offset for lseek(2).
func (f *DirFile) ReadDir(fn func(DirEntry) bool) linux.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dentry.Deleted() {
		return linux.ENOENT
	}
	accessed(f.dir, f.Flags())
	step := func(e DirEntry) bool {
		if !fn(e) {
			return false
		}
		f.pos = e.Next
		return true
	}
	if f.stream != nil {
		return f.stream.List(f.pos, step)
	}
	if f.pos == 0 && !step(dot(".", f.dentry, 1)) {
		return 0
	}
	if f.pos == 1 && !step(dot("..", f.dentry.Up(), 2)) {
		return 0
	}
	return f.dir.List(f.pos-dots, func(e DirEntry) bool {
		e.Next += dots
		return step(e)
	})
}

func dot(name string, d *Dentry, next int64) DirEntry {
	var st linux.Stat
	d.inode.Stat(&st)
	return DirEntry{Name: name, Ino: st.Ino, Mode: linux.S_IFDIR, Next: next}
}

// Lseek implements file.File.
func (f *DirFile) Lseek(off int64, whence int) (int64, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case linux.SEEK_SET:
	case linux.SEEK_CUR:
		off += f.pos
	default:
		return 0, linux.EINVAL
	}
	if off < 0 {
		return 0, linux.EINVAL
	}
	f.pos = off
	return off, 0
}

// Read implements file.File.
func (f *DirFile) Read([]byte) (int, linux.Errno) { return 0, linux.EISDIR }

// Pread implements file.File.
func (f *DirFile) Pread([]byte, int64) (int, linux.Errno) { return 0, linux.EISDIR }

// Write implements file.File.
func (f *DirFile) Write([]byte) (int, linux.Errno) { return 0, linux.EBADF }

// Pwrite implements file.File.
func (f *DirFile) Pwrite([]byte, int64) (int, linux.Errno) { return 0, linux.EBADF }

// Stat implements file.File.
func (f *DirFile) Stat(st *linux.Stat) linux.Errno {
	if f.stream != nil {
		return f.stream.Stat(st)
	}
	f.dir.Stat(st)
	return 0
}

// Sync implements file.File.
func (f *DirFile) Sync() linux.Errno {
	if f.stream != nil {
		return f.stream.Sync()
	}
	return 0
}

// Release implements file.File.
func (f *DirFile) Release() {
	f.dentry.Closed(f)
	if f.stream != nil {
		f.stream.Close()
	}
}
