package vfs

import (
	"strconv"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// OpenFIFO opens a FIFO; package pipe sets it. It is nil in a program that
// links no pipes, and opening a FIFO is then ENXIO.
var OpenFIFO func(d *Dentry, flags uint32) (file.File, linux.Errno)

// SelfOpener is an Inode of a file that is already open, such as the target of
// a link in /proc/self/fd. Open then does not treat the inode of a pipe as a
// FIFO.
type SelfOpener interface {
	Inode
	OpensItself()
}

// Connecter is a file that open(2) waits for. The one example is the end of a
// FIFO: open(2) returns when the other end is open, too.
type Connecter interface {
	// Connected returns EAGAIN until the file can be used. Each change is an edge
	// of the file's queue.
	Connected() linux.Errno
}

// statusFlags are the flags of open(2) that an open file keeps. O_LARGEFILE is
// always reported on x86-64.
const statusFlags = linux.O_ACCMODE | linux.O_APPEND | linux.O_NONBLOCK | linux.O_SYNC |
	linux.O_DIRECT | linux.O_DIRECTORY | linux.O_NOFOLLOW | linux.O_NOATIME |
	linux.O_PATH | linux.O_TMPFILE

// Open is openat(2). mode is the mode of a new file, after the umask.
func Open(at *Dentry, path string, flags, mode uint32) (file.File, linux.Errno) {
	return OpenResolve(at, path, flags, mode, 0)
}

// OpenResolve is openat2(2).
func OpenResolve(at *Dentry, path string, flags, mode uint32, resolve Resolve) (file.File, linux.Errno) {
	if resolve&ResolveBeneath != 0 && resolve&ResolveInRoot != 0 {
		return nil, linux.EINVAL
	}
	Root()
	w := walker{resolve: resolve, base: at}
	if flags&linux.O_PATH != 0 {
		flags &= linux.O_PATH | linux.O_DIRECTORY | linux.O_NOFOLLOW
	}
	temporary := flags&linux.O_TMPFILE == linux.O_TMPFILE
	switch {
	case temporary && (flags&linux.O_ACCMODE == linux.O_RDONLY || flags&linux.O_CREAT != 0),
		!temporary && flags&linux.O_CREAT != 0 && flags&linux.O_DIRECTORY != 0:
		return nil, linux.EINVAL
	}
	if temporary {
		return w.openTemporary(at, path, flags, mode)
	}
	var (
		d     *Dentry
		made  bool
		errno linux.Errno
	)
	if flags&linux.O_CREAT != 0 {
		d, made, errno = w.create(at, path, flags, mode)
	} else {
		d, errno = w.locked(at, path, flags&linux.O_NOFOLLOW == 0)
	}
	if errno != 0 {
		return nil, errno
	}
	if made {
		// The access mode does not restrict the open that creates the file, and
		// O_TRUNC has nothing to do.
		flags &^= linux.O_TRUNC
	}
	return openDentry(d, flags, made)
}

// openDentry opens d. It is the part of openat(2) after the path is resolved or
// the file is made.
func openDentry(d *Dentry, flags uint32, made bool) (file.File, linux.Errno) {
	_, isDir := d.inode.(Dir)
	_, isLink := d.inode.(Symlink)
	writes := flags&linux.O_ACCMODE != linux.O_RDONLY
	switch {
	case flags&linux.O_DIRECTORY != 0 && !isDir:
		return nil, linux.ENOTDIR
	case flags&linux.O_PATH != 0:
		return newPathFile(d, flags), 0
	case isLink:
		return nil, linux.ELOOP
	case isDir && (writes || flags&(linux.O_CREAT|linux.O_TRUNC) != 0):
		return nil, linux.EISDIR
	case d.inode.FS().ReadOnly && (writes || flags&linux.O_TRUNC != 0) && d.FileType() == linux.S_IFREG:
		return nil, linux.EROFS
	}
	if !made {
		if errno := mayOpen(d, flags); errno != 0 {
			return nil, errno
		}
	}
	kept := flags&statusFlags | linux.O_LARGEFILE
	f, errno := openInode(d, kept)
	if errno != 0 {
		return nil, errno
	}
	if flags&linux.O_TRUNC != 0 && d.FileType() == linux.S_IFREG { // FIFOs and devices ignore O_TRUNC
		if errno := d.inode.SetAttr(&Attr{Valid: AttrSize}); errno != 0 {
			f.Release()
			return nil, errno
		}
		d.Notify(linux.IN_MODIFY)
	}
	d.Notify(linux.IN_OPEN)
	return f, 0
}

func openInode(d *Dentry, flags uint32) (file.File, linux.Errno) {
	_, itself := d.inode.(SelfOpener)
	if d.FileType() == linux.S_IFIFO && !itself {
		if OpenFIFO == nil {
			return nil, linux.ENXIO
		}
		return OpenFIFO(d, flags)
	}
	return d.inode.Open(d, flags)
}

// FileType returns the S_IFMT bits of d's inode.
func (d *Dentry) FileType() uint32 {
	if r, ok := d.inode.(Remote); ok {
		return r.FileType()
	}
	var st linux.Stat
	d.inode.Stat(&st)
	return st.Mode & linux.S_IFMT
}

// create finds or makes the regular file at path for O_CREAT.
func (w *walker) create(at *Dentry, path string, flags, mode uint32) (d *Dentry, made bool, errno linux.Errno) {
	tree.Lock()
	defer tree.Unlock()
	raced := false
	for {
		l, errno := w.parent(at, path)
		if errno != 0 {
			return nil, false, errno
		}
		if l.special() {
			if _, errno := w.step(l.dir, l.name, true); errno != 0 {
				return nil, false, errno
			}
			if flags&linux.O_EXCL != 0 {
				return nil, false, linux.EEXIST
			}
			return nil, false, linux.EISDIR
		}
		if l.slash {
			return nil, false, linux.EISDIR
		}
		d, errno := l.child()
		if errno == linux.ENOENT {
			d, errno = l.make(&NewInode{Mode: linux.S_IFREG | mode&0o7777})
			if errno == linux.EEXIST && flags&linux.O_EXCL == 0 && !raced {
				raced = true // another user of the file system made it
				continue
			}
			if errno == linux.EPERM {
				errno = linux.EACCES
			}
			return d, errno == 0, errno
		}
		if errno != 0 {
			return nil, false, errno
		}
		if flags&linux.O_EXCL != 0 {
			return nil, false, linux.EEXIST
		}
		link, ok := d.inode.(Symlink)
		if !ok || flags&linux.O_NOFOLLOW != 0 {
			return d, false, mayReuse(l.dir, d)
		}
		if m, ok := link.(MagicLink); ok {
			d, errno := w.jump(m)
			return d, false, errno
		}
		// A dangling link: the new file belongs where the link leads.
		at = l.dir
		if path, errno = w.target(link); errno != 0 {
			return nil, false, errno
		}
	}
}

// Allocator is a file that fallocate(2) accepts. The caller has checked the
// arguments, and that the file is open for writing.
type Allocator interface {
	Fallocate(mode uint32, off, n int64) linux.Errno
}

// TemporaryMaker is a directory that supports O_TMPFILE.
type TemporaryMaker interface {
	// MakeTemporary makes a regular file without a name. linkable is whether
	// link(2) may give it one.
	MakeTemporary(mode uint32, linkable bool) Inode
}

func (w *walker) openTemporary(at *Dentry, path string, flags, mode uint32) (file.File, linux.Errno) {
	dir, errno := w.locked(at, path, true)
	if errno != 0 {
		return nil, errno
	}
	if errno := isDir(dir); errno != 0 {
		return nil, errno
	}
	if errno := dir.May(Write | Execute); errno != 0 {
		return nil, errno
	}
	t, ok := dir.inode.(TemporaryMaker)
	if !ok {
		return nil, linux.EOPNOTSUPP
	}
	inode := t.MakeTemporary(linux.S_IFREG|mode&0o7777, flags&linux.O_EXCL == 0)
	var st linux.Stat
	inode.Stat(&st)
	d := &Dentry{inode: inode, parent: dir, name: "#" + strconv.FormatUint(st.Ino, 10), deleted: true}
	return inode.Open(d, flags&statusFlags|linux.O_LARGEFILE)
}

// pathFile is what O_PATH opens: a place in the tree and nothing else.
type pathFile struct {
	file.Base
	dentry *Dentry
}

func newPathFile(d *Dentry, flags uint32) *pathFile {
	f := &pathFile{dentry: d}
	f.Init(flags)
	if p, ok := d.inode.(pinner); ok {
		p.Pin()
	}
	return f
}

// pinner is an Inode that is freed with its last name and its last open file.
// Any other reference must pin it.
type pinner interface {
	Pin()
	Unpin()
}

// Release implements file.File.
func (f *pathFile) Release() {
	if p, ok := f.dentry.inode.(pinner); ok {
		p.Unpin()
	}
}

// IsPath reports whether f was opened with O_PATH. Calls that need an open file
// return EBADF for such a file.
func IsPath(f file.File) bool {
	_, ok := f.(*pathFile)
	return ok
}

func (f *pathFile) Dentry() *Dentry { return f.dentry }

func (f *pathFile) Stat(st *linux.Stat) linux.Errno { return f.dentry.Stat(st) }

func (*pathFile) Read([]byte) (int, linux.Errno)             { return 0, linux.EBADF }
func (*pathFile) Write([]byte) (int, linux.Errno)            { return 0, linux.EBADF }
func (*pathFile) Pread([]byte, int64) (int, linux.Errno)     { return 0, linux.EBADF }
func (*pathFile) Pwrite([]byte, int64) (int, linux.Errno)    { return 0, linux.EBADF }
func (*pathFile) Lseek(int64, int) (int64, linux.Errno)      { return 0, linux.EBADF }
func (*pathFile) Truncate(int64) linux.Errno                 { return linux.EBADF }
func (*pathFile) Sync() linux.Errno                          { return linux.EBADF }
func (*pathFile) Ioctl(uint, uintptr) (uintptr, linux.Errno) { return 0, linux.EBADF }
