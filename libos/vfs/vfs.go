// Package vfs is the file system as a program sees it: one tree of names
// (Dentry) over objects (Inode) of one or more file systems. It resolves
// paths, keeps the mount table, has the semantics that all file systems share
// (links, renames, open flags, record locks) and tells inotify what happened.
//
// It stands on packages file and linux. Package sys calls it; packages memfs,
// ninep, proc and dev implement file systems. Package cred says who the program
// is. It starts as root, whom permissions refuse nothing. (A server has its own
// mind of what is allowed.)
package vfs

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// NameMax is the longest name in a directory, in bytes (NAME_MAX).
const NameMax = 255

// Inode is an object of a file system. It must be a comparable type, normally
// a pointer: it is the identity of the object for record locks and inotify.
// Methods may be called concurrently and must not call back into path
// resolution.
type Inode interface {
	// FS is the file system that the inode is part of.
	FS() *FileSystem
	// Stat fills in st, all of it.
	Stat(st *linux.Stat)
	// SetAttr is chmod, chown, utimensat and truncate.
	SetAttr(a *Attr) linux.Errno
	// Open makes an open file description. d is the name that was opened,
	// flags are the access mode and the status flags of open(2). Creation,
	// truncation and O_DIRECTORY were dealt with by the caller. Directories
	// answer with OpenDir.
	Open(d *Dentry, flags uint32) (file.File, linux.Errno)
}

// Remote is an Inode whose attributes are asked for elsewhere, which may fail.
// Stat then gives what was last known.
type Remote interface {
	Inode
	TryStat(st *linux.Stat) linux.Errno
	// FileType is the S_IFMT of the inode, which never changes.
	FileType() uint32
}

// Dir is an Inode that is a directory (S_IFDIR). Lookup is called with the
// tree locked, at least for reading; List is called without.
type Dir interface {
	Inode
	// Lookup finds name, which is neither "." nor "..". d is the directory
	// itself. A file system that stores its names returns the same Dentry
	// each time; one that generates them returns NewDentry(d, name, inode).
	Lookup(d *Dentry, name string) (*Dentry, linux.Errno)
	// List calls fn for the entries after position pos, in order, until fn
	// returns false. 0 is the position before the first. "." and ".." are
	// not listed.
	List(pos int64, fn func(DirEntry) bool) linux.Errno
}

// PathDir is a Dir of somebody who is asked for several names at once for little
// more than for one.
type PathDir interface {
	Dir
	// LookupPath is Lookup of the first of names, and of those that follow,
	// each in what was found before it, as far as that is convenient. It
	// returns at least one Dentry or the error of the first.
	LookupPath(d *Dentry, names []string) ([]*Dentry, linux.Errno)
}

// Streamer is a Dir that has listings of its own for each open file, in place of
// List.
type Streamer interface {
	Dir
	Stream() (Stream, linux.Errno)
}

// Stream is the listing of one open directory.
type Stream interface {
	// List is as Dir.List, but with "." and "..", and with positions that mean
	// something to the file system alone; 0 is the beginning.
	List(pos int64, fn func(DirEntry) bool) linux.Errno
	// Stat and Sync are fstat(2) and fsync(2).
	Stat(st *linux.Stat) linux.Errno
	Sync() linux.Errno
	Close()
}

// DirEntry is a name that Dir.List found.
type DirEntry struct {
	Name string
	Ino  uint64
	Mode uint32 // S_IFMT bits
	Next int64  // the position after this entry, at least 1
}

// MutableDir is a Dir in which names can be made and removed. All methods are
// called with the tree locked for writing, and after the checks that do not
// depend on the file system: that a name is free where it must be, that types
// match, that no directory moves below itself.
type MutableDir interface {
	Dir
	// Make adds a new object under name.
	Make(d *Dentry, name string, n *NewInode) (*Dentry, linux.Errno)
	// Link adds a further name for target, an inode of the same file system.
	Link(d *Dentry, name string, target Inode) (*Dentry, linux.Errno)
	// Unlink removes child: a directory must be empty, else ENOTEMPTY.
	Unlink(child *Dentry) linux.Errno
	// Rename moves child to name in dir, another directory of the same file
	// system, or the same. What stood there, over, is replaced (nil: nothing;
	// a directory must be empty, else ENOTEMPTY).
	Rename(child, dir *Dentry, name string, over *Dentry) linux.Errno
	// Exchange swaps the places of a and b.
	Exchange(a, b *Dentry) linux.Errno
}

// NewInode says what MutableDir.Make makes.
type NewInode struct {
	Mode   uint32 // S_IFMT and permissions, after the umask
	Rdev   uint64 // S_IFCHR, S_IFBLK
	Target string // S_IFLNK
}

// Symlink is an Inode that is a symbolic link (S_IFLNK).
type Symlink interface {
	Inode
	// Readlink is the target. But for MagicLink, it is also called with the
	// tree locked.
	Readlink() (string, linux.Errno)
}

// MagicLink is a Symlink that leads to its target directly and not by the path
// that Readlink shows, as those of /proc/self/fd do.
type MagicLink interface {
	Symlink
	Follow() (*Dentry, linux.Errno)
}

// Attr is a change of attributes: those whose bit is in Valid.
type Attr struct {
	Valid        AttrMask
	Mode         uint32 // permission bits only
	UID, GID     uint32
	Size         int64
	Atime, Mtime linux.Timespec
}

// Xattrs is an Inode with extended attributes (xattr(7)).
type Xattrs interface {
	// Xattr is the value of name; ENODATA.
	Xattr(name string) ([]byte, linux.Errno)
	// SetXattr keeps value. flags is XATTR_CREATE, XATTR_REPLACE or 0.
	SetXattr(name string, value []byte, flags int) linux.Errno
	ListXattrs() []string
	RemoveXattr(name string) linux.Errno
}

// AttrMask names fields of Attr.
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
	AttrTouch // the times are those of now, which who may write may set
)

// FileSystem is what the inodes of one file system have in common.
type FileSystem struct {
	Type  string // as in /proc/mounts: "tmpfs"
	Magic int64  // f_type of statfs(2)
	// Usage, when set, fills in the figures of statfs.
	Usage func(st *linux.Statfs)
	// ReadOnly has the VFS refuse what would change a name or open a file for
	// writing; SetAttr is the file system's own to refuse (EROFS).
	ReadOnly bool

	dev  uint64
	ino  atomic.Uint64
	root *Dentry
}

var lastDev atomic.Uint64

// NewFileSystem gives a file system its device number.
func NewFileSystem(typ string, magic int64) *FileSystem {
	// Anonymous devices have major number 0.
	return &FileSystem{Type: typ, Magic: magic, dev: lastDev.Add(1)}
}

// Dev is the device number, st_dev of all its inodes.
func (fs *FileSystem) Dev() uint64 { return fs.dev }

// NewIno is a fresh inode number.
func (fs *FileSystem) NewIno() uint64 { return fs.ino.Add(1) }

// Top is the dentry of the root directory inode, made at the first call, before
// the file system is mounted.
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

// Now is the time for time stamps.
func Now() linux.Timespec {
	sec, nsec := platform.Walltime()
	return linux.Timespec{Sec: sec, Nsec: int64(nsec)}
}
