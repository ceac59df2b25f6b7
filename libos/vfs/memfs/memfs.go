// Package memfs is a file system in memory, like Linux's tmpfs. The writable
// root of the tree, /tmp, /dev/shm and memfds use it. A regular file may start
// as bytes of the root archive. They are used in place and copied at the first
// write.
//
// It implements the interfaces of package vfs and does not handle paths: the
// VFS resolves them, and holds the lock of the tree while names change.
//
// Data live in the Go heap in chunks, so appending does not copy existing data.
// When a file is first mapped with MAP_SHARED, its data move to a region.
package memfs

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
)

const pageSize = platform.PageSize

// FS is one file system in memory.
type FS struct {
	*vfs.FileSystem
	root  *directory
	limit int64 // in pages, for all files; 0: no limit
	used  atomic.Int64
}

// New returns a file system whose files may use limit bytes (0: no limit).
func New(limit int64) *FS {
	fs := &FS{FileSystem: vfs.NewFileSystem("tmpfs", linux.TMPFS_MAGIC), limit: limit / pageSize}
	fs.Usage = fs.usage
	fs.root = fs.newDirectory(0o755)
	return fs
}

// Root returns the root directory.
func (fs *FS) Root() vfs.Inode { return fs.root }

func (fs *FS) usage(st *linux.Statfs) {
	if fs.limit == 0 {
		return
	}
	st.Blocks = uint64(fs.limit)
	st.Bfree = uint64(max(0, fs.limit-fs.used.Load()))
	st.Bavail = st.Bfree
}

// charge accounts for n more pages. It returns ENOSPC when the limit is
// reached.
func (fs *FS) charge(n int64) linux.Errno {
	if fs.used.Add(n) > fs.limit && n > 0 && fs.limit != 0 {
		fs.used.Add(-n)
		return linux.ENOSPC
	}
	return 0
}

// inode is the common part of all objects.
type inode struct {
	fs   *FS
	ino  uint64
	typ  uint32 // S_IFMT bits
	rdev uint64

	mu                  sync.RWMutex // guards the fields below, and those of the types that embed inode
	perm                uint32
	uid, gid            uint32
	nlink               uint64
	linkable            bool // made by O_TMPFILE, has never had a name and may get one
	atime, mtime, ctime linux.Timespec
	xattrs              map[string][]byte
}

func (fs *FS) newInode(typ, perm uint32, nlink uint64) inode {
	now := vfs.Now()
	c := cred.Current()
	return inode{
		fs: fs, ino: fs.NewIno(), typ: typ, perm: perm, nlink: nlink, uid: c.UID.FS, gid: c.GID.FS,
		atime: now, mtime: now, ctime: now,
	}
}

// node is any object of this package.
type node interface {
	vfs.Inode
	base() *inode
}

func (i *inode) base() *inode { return i }

// FS implements vfs.Inode.
func (i *inode) FS() *vfs.FileSystem { return i.fs.FileSystem }

// Stat implements vfs.Inode.
func (i *inode) Stat(st *linux.Stat) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	i.stat(st)
}

func (i *inode) stat(st *linux.Stat) {
	*st = linux.Stat{
		Dev: i.fs.Dev(), Ino: i.ino, Nlink: i.nlink, Mode: i.typ | i.perm, UID: i.uid, GID: i.gid,
		Rdev: i.rdev, Blksize: pageSize, Atim: i.atime, Mtim: i.mtime, Ctim: i.ctime,
	}
}

// SetAttr implements vfs.Inode, except for sizes, which only regular files
// have.
func (i *inode) SetAttr(a *vfs.Attr) linux.Errno {
	if a.Valid&vfs.AttrSize != 0 {
		return linux.EINVAL
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.setAttr(a)
	return 0
}

func (i *inode) setAttr(a *vfs.Attr) {
	if a.Valid&vfs.AttrMode != 0 {
		i.perm = a.Mode & 0o7777
	}
	// Clear the set-ID bits: they must not carry over to a new owner (chown(2)).
	if a.Valid&vfs.AttrChown != 0 && i.typ != linux.S_IFDIR {
		i.dropSetID()
	}
	if a.Valid&vfs.AttrUID != 0 {
		i.uid = a.UID
	}
	if a.Valid&vfs.AttrGID != 0 {
		i.gid = a.GID
	}
	if a.Valid&vfs.AttrAtime != 0 {
		i.atime = a.Atime
	}
	if a.Valid&vfs.AttrMtime != 0 {
		i.mtime = a.Mtime
	}
	i.ctime = vfs.Now()
}

// dropSetID clears the set-user-ID and set-group-ID bits. The latter stays
// where the group may not execute the file, because it then does not mean
// set-group-ID.
func (i *inode) dropSetID() {
	i.perm &^= linux.S_ISUID
	if c := cred.Current(); i.perm&0o010 != 0 || !c.InGroup(i.gid) && !c.Has(linux.CAP_FSETID) {
		i.perm &^= linux.S_ISGID
	}
}

// link adds n to the link count.
func (i *inode) link(n int64) {
	i.mu.Lock()
	i.nlink += uint64(n)
	i.ctime = vfs.Now()
	i.mu.Unlock()
}

// relink counts another name. It returns false when the object has lost its
// last name, or never had one and may not get one.
func (i *inode) relink() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.nlink == 0 && !i.linkable {
		return false
	}
	i.linkable = false
	i.nlink++
	i.ctime = vfs.Now()
	return true
}

// Accessed sets the access time after a read, like the mount option relatime:
// only when it is not later than the last change. (The mount option also
// updates it once a day, but that would cost a look at the clock on every
// read.)
func (i *inode) Accessed(flags uint32) {
	if flags&linux.O_NOATIME != 0 {
		return
	}
	i.mu.RLock()
	a := i.atime.Nano()
	stale := a <= i.mtime.Nano() || a <= i.ctime.Nano()
	i.mu.RUnlock()
	if stale {
		i.mu.Lock()
		i.atime = vfs.Now()
		i.mu.Unlock()
	}
}

// symlink is a symbolic link.
type symlink struct {
	inode
	target string
}

// Readlink implements vfs.Symlink.
func (s *symlink) Readlink() (string, linux.Errno) { return s.target, 0 }

// Stat implements vfs.Inode.
func (s *symlink) Stat(st *linux.Stat) {
	s.inode.Stat(st)
	st.Size = int64(len(s.target))
}

// Open implements vfs.Inode. A symbolic link itself cannot be opened.
func (s *symlink) Open(*vfs.Dentry, uint32) (file.File, linux.Errno) { return nil, linux.ELOOP }

// special is a FIFO, a socket or a device. It is only a name here: package pipe
// opens FIFOs, package unix finds sockets, and devices that can be opened are
// in /dev.
type special struct{ inode }

// Open implements vfs.Inode.
func (s *special) Open(*vfs.Dentry, uint32) (file.File, linux.Errno) { return nil, linux.ENXIO }
