package ninep

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// regular is a regular file of the server. It also stands for special files,
// which cannot be opened.
type regular struct{ node }

// created keeps the mode and the open fid of a new file for the Open that
// follows, which then needs no request for the file type.
func (r *regular) created(mode uint32, o *openFid) {
	r.mu.Lock()
	if r.known.Mode == 0 {
		r.known.Mode = mode
	}
	r.mu.Unlock()
	r.handle.leave(o)
}

// openFid is a fid with an open file.
type openFid struct {
	*fid
	unit int // bytes of data in one request, at most
}

// Open implements vfs.Inode.
func (r *regular) Open(d *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	switch r.FileType() {
	case linux.S_IFREG:
	case linux.S_IFSOCK:
		return nil, linux.ENXIO
	default: // devices of the server cannot be opened, as with the mount option nodev
		return nil, linux.EACCES
	}
	o, errno := r.open(flags & (linux.O_ACCMODE | linux.O_APPEND | linux.O_SYNC))
	if errno != 0 {
		return nil, errno
	}
	f := &openFile{r: r, dentry: d, fid: o}
	f.Init(flags)
	return f, 0
}

func (r *regular) open(flags uint32) (*openFid, linux.Errno) {
	created := r.handle.collect()
	if created != nil && flags&^linux.O_ACCMODE == 0 {
		return created, 0
	}
	o, errno := r.reopen(flags)
	if created == nil {
		return o, errno
	}
	if errno != 0 { // for example, the mode forbids it
		return created, 0
	}
	created.close()
	return o, 0
}

func (r *regular) reopen(flags uint32) (*openFid, linux.Errno) {
	from := r.handle.hold()
	defer from.drop()
	f, errno := r.fs.c.clone(from)
	if errno != 0 {
		return nil, errno
	}
	unit, errno := r.fs.c.lopen(f, flags)
	if errno != 0 {
		f.drop()
		return nil, errno
	}
	return &openFid{f, unit}, 0
}

// openFile is an open regular file.
type openFile struct {
	file.Base
	r      *regular
	dentry *vfs.Dentry
	fid    *openFid
	mu     sync.Mutex // guards off, and serialises calls that use the offset
	off    int64
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
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+f.fid.unit)]
		n, errno := f.r.fs.c.readData(wire.Tread, f.fid.fid, part, off+int64(done))
		done += n
		if errno != 0 && done == 0 {
			return 0, errno
		}
		if errno != 0 || n < len(part) {
			break
		}
	}
	if done > 0 {
		f.dentry.Notify(linux.IN_ACCESS)
	}
	return done, 0
}

// Write implements file.File.
func (f *openFile) Write(p []byte) (int, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, end, errno := f.write(p, f.off)
	if n > 0 {
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
	if len(p) == 0 {
		return 0, off, 0
	}
	if f.Flags()&linux.O_APPEND != 0 {
		// A server appends by itself when the file was opened with O_APPEND. The
		// client computes the offset for itself, and for files that got O_APPEND
		// later.
		f.r.appending.Lock()
		defer f.r.appending.Unlock()
		var st linux.Stat
		if errno := f.Stat(&st); errno != 0 {
			return 0, 0, errno
		}
		off = st.Size
	}
	for n < len(p) && errno == 0 {
		part := p[n:min(len(p), n+f.fid.unit)]
		var put int
		put, errno = f.r.fs.c.writeData(f.fid.fid, part, off+int64(n))
		n += put
		if put < len(part) {
			break
		}
	}
	switch {
	case n > 0:
		f.r.grew(off + int64(n))
		f.dentry.Notify(linux.IN_MODIFY)
		return n, off + int64(n), 0
	case errno == 0: // nothing written and no error reported
		errno = linux.EIO
	}
	return 0, 0, errno
}

// Lseek implements file.File. As in v9fs, files have no holes.
func (f *openFile) Lseek(off int64, whence int) (int64, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var st linux.Stat
	if whence == linux.SEEK_END || whence == linux.SEEK_DATA || whence == linux.SEEK_HOLE {
		if errno := f.Stat(&st); errno != 0 {
			return 0, errno
		}
	}
	switch whence {
	case linux.SEEK_SET:
	case linux.SEEK_CUR:
		off += f.off
	case linux.SEEK_END:
		off += st.Size
	case linux.SEEK_DATA, linux.SEEK_HOLE:
		if off < 0 || off >= st.Size {
			return 0, linux.ENXIO
		}
		if whence == linux.SEEK_HOLE {
			off = st.Size
		}
	default:
		return 0, linux.EINVAL
	}
	if off < 0 {
		return 0, linux.EINVAL
	}
	f.off = off
	return off, 0
}

// Stat implements file.File.
func (f *openFile) Stat(st *linux.Stat) linux.Errno { return f.r.statBy(f.fid.fid, st) }

// Truncate implements file.File.
func (f *openFile) Truncate(size int64) linux.Errno {
	if !f.writable() {
		return linux.EINVAL
	}
	if errno := f.r.setAttrBy(f.fid.fid, &vfs.Attr{Valid: vfs.AttrSize, Size: size}); errno != 0 {
		return errno
	}
	f.dentry.Notify(linux.IN_MODIFY)
	return 0
}

// Fallocate implements vfs.Allocator. The protocol has no such request.
func (f *openFile) Fallocate(uint32, int64, int64) linux.Errno { return linux.EOPNOTSUPP }

// Sync implements file.File.
func (f *openFile) Sync() linux.Errno { return f.r.fs.c.fsync(f.fid.fid) }

// Map implements file.Mapper. A private mapping is a copy. Shared mappings are
// refused, because they would have to show what other clients of the server
// write.
func (f *openFile) Map(off int64, length uintptr, prot int, shared bool) (unsafe.Pointer, linux.Errno) {
	if !f.readable() {
		return nil, linux.EACCES
	}
	if shared {
		return nil, linux.ENODEV
	}
	addr, errno := platform.Map(0, length, linux.PROT_READ|linux.PROT_WRITE, 0)
	if errno != 0 {
		return nil, errno
	}
	p := platform.Pointer(addr)
	_, errno = f.Pread(unsafe.Slice((*byte)(p), length), off)
	if errno == 0 && prot != linux.PROT_READ|linux.PROT_WRITE {
		errno = platform.Protect(addr, length, prot)
	}
	if errno != 0 {
		platform.Unmap(addr, length)
		return nil, errno
	}
	return p, 0
}

// Release implements file.File.
func (f *openFile) Release() {
	f.dentry.Closed(f)
	if f.writable() {
		f.fid.close()
	} else {
		f.fid.drop() // nobody waits for the close of a file that was only read
	}
}
