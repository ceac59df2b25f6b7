package vfs

import (
	"sort"
	"sync"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// Object is the common part of inodes that the library OS makes, not the
// program. Implementations of Inode embed it and add Open.
type Object struct {
	fs   *FileSystem
	ino  uint64
	mode uint32
	rdev uint64
	time linux.Timespec
}

// NewObject returns an Object with a fresh inode number. mode has S_IFMT and
// permissions.
func NewObject(fs *FileSystem, mode uint32) Object {
	return Object{fs: fs, ino: fs.NewIno(), mode: mode, time: Now()}
}

// FS implements Inode.
func (o *Object) FS() *FileSystem { return o.fs }

// Stat implements Inode.
func (o *Object) Stat(st *linux.Stat) {
	*st = linux.Stat{
		Dev: o.fs.dev, Ino: o.ino, Nlink: 1, Mode: o.mode, Rdev: o.rdev, Blksize: 4096,
		Atim: o.time, Mtim: o.time, Ctim: o.time,
	}
	if o.mode&linux.S_IFMT == linux.S_IFDIR {
		st.Nlink = 2
	}
}

// SetAttr implements Inode. Truncation succeeds without effect; every other
// change is EPERM.
func (o *Object) SetAttr(a *Attr) linux.Errno {
	if a.Valid&^AttrSize != 0 {
		return linux.EPERM
	}
	return 0
}

// Generated is a regular file whose content is made anew at each open.
type Generated struct {
	Object
	content func() []byte
	store   func(p []byte) linux.Errno
}

// NewGenerated returns a file that gets its content from content at each open.
// store receives the data of each write(2). When store is nil, opening for
// writing is refused with EACCES.
func NewGenerated(fs *FileSystem, perm uint32, content func() []byte, store func(p []byte) linux.Errno) *Generated {
	return &Generated{NewObject(fs, linux.S_IFREG|perm), content, store}
}

// Stat implements Inode. The time stamps are the current time, so that a
// program that caches a copy reads the file again.
func (g *Generated) Stat(st *linux.Stat) {
	g.Object.Stat(st)
	now := Now()
	st.Atim, st.Mtim, st.Ctim = now, now, now
}

// Open implements Inode.
func (g *Generated) Open(d *Dentry, flags uint32) (file.File, linux.Errno) {
	f := &generatedFile{inode: g, dentry: d}
	if flags&linux.O_ACCMODE != linux.O_RDONLY && g.store == nil {
		return nil, linux.EACCES
	}
	if flags&linux.O_ACCMODE != linux.O_WRONLY {
		f.data = g.content()
	}
	f.Init(flags)
	return f, 0
}

type generatedFile struct {
	file.Base
	inode  *Generated
	dentry *Dentry
	data   []byte
	mu     sync.Mutex
	off    int64
}

func (f *generatedFile) Dentry() *Dentry { return f.dentry }

func (f *generatedFile) Read(p []byte) (int, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, errno := f.Pread(p, f.off)
	f.off += int64(n)
	return n, errno
}

func (f *generatedFile) Pread(p []byte, off int64) (int, linux.Errno) {
	if f.Flags()&linux.O_ACCMODE == linux.O_WRONLY {
		return 0, linux.EBADF
	}
	if off >= int64(len(f.data)) {
		return 0, 0
	}
	return copy(p, f.data[off:]), 0
}

func (f *generatedFile) Write(p []byte) (int, linux.Errno) {
	if f.Flags()&linux.O_ACCMODE == linux.O_RDONLY {
		return 0, linux.EBADF
	}
	if errno := f.inode.store(p); errno != 0 {
		return 0, errno
	}
	return len(p), 0
}

func (f *generatedFile) Pwrite(p []byte, off int64) (int, linux.Errno) { return f.Write(p) }

func (f *generatedFile) Lseek(off int64, whence int) (int64, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case linux.SEEK_SET:
	case linux.SEEK_CUR:
		off += f.off
	default:
		return 0, linux.EINVAL
	}
	if off < 0 {
		return 0, linux.EINVAL
	}
	f.off = off
	return off, 0
}

func (f *generatedFile) Release() { f.dentry.Closed(f) }

func (f *generatedFile) Stat(st *linux.Stat) linux.Errno { f.inode.Stat(st); return 0 }

// Device is a character or block device, as in /dev.
type Device struct {
	Object
	open func(d *Dentry, flags uint32) (file.File, linux.Errno)
}

// NewDevice returns a device with number rdev (linux.Makedev). mode has S_IFCHR
// or S_IFBLK and permissions. open makes the file for each open(2) and must
// call the file's Init with flags.
func NewDevice(fs *FileSystem, mode uint32, rdev uint64, open func(d *Dentry, flags uint32) (file.File, linux.Errno)) *Device {
	o := NewObject(fs, mode)
	o.rdev = rdev
	return &Device{o, open}
}

// Open implements Inode.
func (v *Device) Open(d *Dentry, flags uint32) (file.File, linux.Errno) { return v.open(d, flags) }

// Link is a symbolic link whose target is computed when it is read.
type Link struct {
	Object
	target func() string
}

// NewLink returns a symbolic link.
func NewLink(fs *FileSystem, target func() string) *Link {
	return &Link{NewObject(fs, linux.S_IFLNK|0o777), target}
}

// Readlink implements Symlink.
func (l *Link) Readlink() (string, linux.Errno) { return l.target(), 0 }

// Open implements Inode. A symbolic link itself cannot be opened.
func (l *Link) Open(*Dentry, uint32) (file.File, linux.Errno) { return nil, linux.ELOOP }

// Folder is a directory whose entries the library OS adds. The program cannot
// change them.
type Folder struct {
	Object
	mu      sync.RWMutex
	names   []string // sorted
	entries map[string]*Dentry
}

// NewFolder returns an empty directory.
func NewFolder(fs *FileSystem, perm uint32) *Folder {
	return &Folder{Object: NewObject(fs, linux.S_IFDIR|perm), entries: map[string]*Dentry{}}
}

// Add puts inode into the directory. All names are added before programs use
// the directory, because the position of a name in a listing is its index in
// sorted order.
func (f *Folder) Add(name string, inode Inode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := sort.SearchStrings(f.names, name)
	f.names = append(f.names, "")
	copy(f.names[i+1:], f.names[i:])
	f.names[i] = name
	f.entries[name] = NewDentry(nil, name, inode)
}

// Lookup implements Dir.
func (f *Folder) Lookup(d *Dentry, name string) (*Dentry, linux.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.entries[name]
	if e == nil {
		return nil, linux.ENOENT
	}
	if e.parent == nil {
		e.parent = d
	}
	return e, 0
}

// List implements Dir.
func (f *Folder) List(pos int64, fn func(DirEntry) bool) linux.Errno {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for i := pos; i < int64(len(f.names)); i++ {
		var st linux.Stat
		f.entries[f.names[i]].inode.Stat(&st)
		if !fn(DirEntry{Name: f.names[i], Ino: st.Ino, Mode: st.Mode & linux.S_IFMT, Next: i + 1}) {
			break
		}
	}
	return 0
}

// Open implements Inode.
func (f *Folder) Open(d *Dentry, flags uint32) (file.File, linux.Errno) {
	return OpenDir(d, flags), 0
}
