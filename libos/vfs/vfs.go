// Package vfs is the file system as a program sees it: one tree of names
// (Dentry) over objects (Inode) of one or more file systems. It resolves paths,
// keeps the mount table and reports events to inotify. It also has the
// semantics that all file systems share: links, renames, open flags and record
// locks.
//
// Package vfs stands on packages file and linux. Package sys calls it; packages
// memfs, ninep, proc and dev implement file systems. Package cred has the
// program's credentials. A program starts as root, which passes every
// permission check. (A 9P server may still refuse an operation.)
package vfs

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// NameMax is the longest name in a directory, in bytes (NAME_MAX).
const NameMax = 255

// Inode is an object of a file system. Its type must be comparable, normally a
// pointer, because an Inode is the identity of the object for record locks and
// inotify. Methods may be called concurrently and must not call back into path
// resolution.
type Inode interface {
	// FS returns the file system of the inode.
	FS() *FileSystem
	// Stat sets all fields of st.
	Stat(st *linux.Stat)
	// SetAttr is chmod, chown, utimensat and truncate.
	SetAttr(a *Attr) linux.Errno
	// Open makes an open file description. d is the name that was opened. flags
	// are the access mode and the status flags of open(2). The caller has handled
	// creation, truncation and O_DIRECTORY. Directories return OpenDir.
	Open(d *Dentry, flags uint32) (file.File, linux.Errno)
}

// Remote is an Inode whose attributes come from a server. A request for them
// may fail; Stat then returns the last known attributes.
type Remote interface {
	Inode
	TryStat(st *linux.Stat) linux.Errno
	// FileType returns the S_IFMT bits of the inode, which never change.
	FileType() uint32
}

// Dir is an Inode that is a directory (S_IFDIR). Lookup is called with the tree
// locked, at least for reading. List is called with the tree unlocked.
type Dir interface {
	Inode
	// Lookup finds name, which is neither "." nor "..". d is the directory itself.
	// A file system that stores its names returns the same Dentry each time. One
	// that generates them returns NewDentry(d, name, inode).
	Lookup(d *Dentry, name string) (*Dentry, linux.Errno)
	// List calls fn for the entries after position pos, in order, until fn returns
	// false. Position 0 is before the first entry. "." and ".." are not listed.
	List(pos int64, fn func(DirEntry) bool) linux.Errno
}

// PathDir is a Dir that can look up several names for little more than the cost
// of one.
type PathDir interface {
	Dir
	// LookupPath looks up the first of names in d, and each further name in the
	// result of the one before. It may stop early. It returns at least one Dentry,
	// or the error of the first lookup.
	LookupPath(d *Dentry, names []string) ([]*Dentry, linux.Errno)
}

// Streamer is a Dir that makes a listing for each open file instead of
// implementing List.
type Streamer interface {
	Dir
	Stream() (Stream, linux.Errno)
}

// Stream is the listing of one open directory.
type Stream interface {
	// List is like Dir.List, but includes "." and "..". Only the file system knows
	// what its positions mean; 0 is the beginning.
	List(pos int64, fn func(DirEntry) bool) linux.Errno
	// Stat and Sync are fstat(2) and fsync(2).
	Stat(st *linux.Stat) linux.Errno
	Sync() linux.Errno
	Close()
}

// DirEntry is an entry that Dir.List found.
type DirEntry struct {
	Name string
	Ino  uint64
	Mode uint32 // S_IFMT bits
	Next int64  // position after this entry, at least 1
}

// MutableDir is a Dir in which names can be made and removed. All methods are
// called with the tree locked for writing. The caller has made the checks that
// do not depend on the file system: a new name is free, types match, and no
// directory moves below itself.
type MutableDir interface {
	Dir
	// Make adds a new object under name.
	Make(d *Dentry, name string, n *NewInode) (*Dentry, linux.Errno)
	// Link adds another name for target, an inode of the same file system.
	Link(d *Dentry, name string, target Inode) (*Dentry, linux.Errno)
	// Unlink removes child. A directory must be empty, else ENOTEMPTY.
	Unlink(child *Dentry) linux.Errno
	// Rename moves child to name in dir, a directory of the same file system. It
	// replaces over, which stood there; a directory over must be empty, else
	// ENOTEMPTY. over is nil when there is nothing to replace.
	Rename(child, dir *Dentry, name string, over *Dentry) linux.Errno
	// Exchange swaps the places of a and b.
	Exchange(a, b *Dentry) linux.Errno
}

// NewInode describes the object that MutableDir.Make makes.
type NewInode struct {
	Mode   uint32 // S_IFMT and permissions, after the umask
	Rdev   uint64 // for S_IFCHR and S_IFBLK
	Target string // for S_IFLNK
}

// Symlink is an Inode that is a symbolic link (S_IFLNK).
type Symlink interface {
	Inode
	// Readlink returns the target. Except on a MagicLink, it may be called with
	// the tree locked.
	Readlink() (string, linux.Errno)
}

// MagicLink is a Symlink, like those in /proc/self/fd, that leads to its target
// directly. The path that Readlink returns is only shown.
type MagicLink interface {
	Symlink
	Follow() (*Dentry, linux.Errno)
}

// Attr is a change of the attributes whose bits are set in Valid.
type Attr struct {
	Valid        AttrMask
	Mode         uint32 // permission bits only
	UID, GID     uint32
	Size         int64
	Atime, Mtime linux.Timespec
}

// Xattrs is an Inode with extended attributes (xattr(7)).
type Xattrs interface {
	// Xattr returns the value of name, or ENODATA.
	Xattr(name string) ([]byte, linux.Errno)
	// SetXattr stores value under name. flags is XATTR_CREATE, XATTR_REPLACE or 0.
	SetXattr(name string, value []byte, flags int) linux.Errno
	ListXattrs() []string
	RemoveXattr(name string) linux.Errno
}

// AttrMask is a set of fields of Attr.
type AttrMask uint32

// Fields of Attr.
const (
	AttrMode AttrMask = 1 << iota
	AttrUID
	AttrGID
	AttrSize
	AttrAtime
	AttrMtime
	AttrChown // chown(2) was called, even when it changes neither id
	AttrTouch // the times become the current time; write permission suffices for that
)

// FileSystem is the common part of the inodes of one file system.
type FileSystem struct {
	Type  string // as in /proc/mounts: "tmpfs"
	Magic int64  // f_type of statfs(2)
	// Usage fills in the figures of statfs(2). It may be nil.
	Usage func(st *linux.Statfs)
	// ReadOnly makes the VFS refuse to change a name or to open a file for
	// writing. The file system itself must refuse SetAttr (EROFS).
	ReadOnly bool

	dev  uint64
	ino  atomic.Uint64
	root *Dentry
}

var lastDev atomic.Uint64

// NewFileSystem returns a file system with a fresh device number.
func NewFileSystem(typ string, magic int64) *FileSystem {
	// Anonymous devices have major number 0.
	return &FileSystem{Type: typ, Magic: magic, dev: lastDev.Add(1)}
}

// Dev returns the device number, which is st_dev of all inodes.
func (fs *FileSystem) Dev() uint64 { return fs.dev }

// NewIno returns a fresh inode number.
func (fs *FileSystem) NewIno() uint64 { return fs.ino.Add(1) }

// Top returns the dentry of the root directory inode. The first call makes it,
// before the file system is mounted.
func (fs *FileSystem) Top(inode Inode) *Dentry {
	if fs.root == nil {
		fs.root = NewDentry(nil, "/", inode)
	}
	return fs.root
}

// Statfs is statfs(2).
func (fs *FileSystem) Statfs(st *linux.Statfs) {
	*st = linux.Statfs{
		Type: fs.Magic, Bsize: platform.PageSize, Frsize: platform.PageSize,
		Namelen: NameMax, Fsid: [2]int32{int32(fs.dev)}, Flags: linux.ST_VALID | linux.ST_RELATIME,
	}
	if fs.ReadOnly {
		st.Flags |= linux.ST_RDONLY
	}
	if fs.Usage != nil {
		fs.Usage(st)
	}
}

// Now returns the current time, for time stamps.
func Now() linux.Timespec {
	sec, nsec := platform.Walltime()
	return linux.Timespec{Sec: sec, Nsec: int64(nsec)}
}
