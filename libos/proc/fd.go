package proc

import (
	"strconv"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// descriptors is a directory with an entry for each open descriptor.
type descriptors struct {
	vfs.Object
	entry func(fs *vfs.FileSystem, fd int, f file.File) vfs.Inode
}

func newDescriptors(fs *vfs.FileSystem, perm uint32, entry func(fs *vfs.FileSystem, fd int, f file.File) vfs.Inode) *descriptors {
	return &descriptors{vfs.NewObject(fs, linux.S_IFDIR|perm), entry}
}

// Permits implements vfs.Guarded. The descriptors always belong to the program,
// even after it has changed its user.
func (*descriptors) Permits(vfs.Access) linux.Errno { return 0 }

// Lookup implements vfs.Dir.
func (dir *descriptors) Lookup(d *vfs.Dentry, name string) (*vfs.Dentry, linux.Errno) {
	fd, err := strconv.Atoi(name)
	if err != nil || strconv.Itoa(fd) != name {
		return nil, linux.ENOENT
	}
	f := Files.Get(fd)
	if f == nil {
		return nil, linux.ENOENT
	}
	return vfs.NewDentry(d, name, dir.entry(dir.FS(), fd, f)), 0
}

// List implements vfs.Dir. The position after a descriptor is its number plus
// one.
func (dir *descriptors) List(pos int64, fn func(vfs.DirEntry) bool) linux.Errno {
	more := true
	Files.Each(func(fd int, f file.File) {
		if int64(fd) < pos || !more {
			return
		}
		var st linux.Stat
		dir.entry(dir.FS(), fd, f).Stat(&st)
		more = fn(vfs.DirEntry{Name: strconv.Itoa(fd), Ino: st.Ino, Mode: st.Mode & linux.S_IFMT, Next: int64(fd) + 1})
	})
	return 0
}

// Open implements vfs.Inode.
func (dir *descriptors) Open(d *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	return vfs.OpenDir(d, flags), 0
}

// link is an entry of /proc/self/fd. It leads to the open file itself, even
// when the file has lost its name or the name now belongs to another file
// (proc_pid_fd(5)).
type link struct {
	vfs.Object
	file file.File
}

func newLink(fs *vfs.FileSystem, _ int, f file.File) vfs.Inode {
	// The permissions show the access mode.
	perm := uint32(0o500)
	switch f.Flags() & linux.O_ACCMODE {
	case linux.O_WRONLY:
		perm = 0o300
	case linux.O_RDWR:
		perm = 0o700
	}
	return &link{vfs.NewObject(fs, linux.S_IFLNK|perm), f}
}

// Stat implements vfs.Inode. In Linux the size of these links is 64 bytes.
func (l *link) Stat(st *linux.Stat) {
	l.Object.Stat(st)
	st.Size = 64
}

// Readlink implements vfs.Symlink.
func (l *link) Readlink() (string, linux.Errno) {
	if d := vfs.DentryOf(l.file); d != nil {
		return d.Path(), 0
	}
	return nameOf(l.file), 0
}

// nameOf returns what the link shows for a file outside the tree.
func nameOf(f file.File) string {
	if n, ok := f.(interface{ Name() string }); ok {
		return n.Name()
	}
	var st linux.Stat
	if errno := f.Stat(&st); errno != 0 {
		return "anon_inode:[file]"
	}
	ino := "[" + strconv.FormatUint(st.Ino, 10) + "]"
	switch st.Mode & linux.S_IFMT {
	case linux.S_IFSOCK:
		return "socket:" + ino
	case linux.S_IFIFO:
		return "pipe:" + ino
	}
	return "anon_inode:[file]"
}

// Follow implements vfs.MagicLink.
func (l *link) Follow() (*vfs.Dentry, linux.Errno) {
	if d := vfs.DentryOf(l.file); d != nil {
		return d, 0
	}
	inode := &nameless{vfs.NewObject(l.FS(), 0), l.file}
	return vfs.NewDentry(nil, nameOf(l.file), inode), 0
}

// Open implements vfs.Inode. A symbolic link itself cannot be opened.
func (l *link) Open(*vfs.Dentry, uint32) (file.File, linux.Errno) { return nil, linux.ELOOP }

// nameless is the inode of an open file without a name in the tree.
type nameless struct {
	vfs.Object
	file file.File
}

// reopener is a file without a name that can be opened again, with other flags.
type reopener interface {
	Reopen(flags uint32) (file.File, linux.Errno)
}

// Stat implements vfs.Inode.
func (n *nameless) Stat(st *linux.Stat) {
	if errno := n.file.Stat(st); errno != 0 {
		n.Object.Stat(st)
	}
}

// OpensItself implements vfs.SelfOpener.
func (n *nameless) OpensItself() {}

// Open implements vfs.Inode.
func (n *nameless) Open(_ *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	if r, ok := n.file.(reopener); ok {
		return r.Reopen(flags)
	}
	return nil, linux.ENXIO
}

// newInfo returns an entry of /proc/self/fdinfo.
func newInfo(fs *vfs.FileSystem, _ int, f file.File) vfs.Inode {
	return vfs.NewGenerated(fs, 0o444, func() []byte {
		var st linux.Stat
		if errno := f.Stat(&st); errno != 0 {
			return nil
		}
		pos, errno := f.Lseek(0, linux.SEEK_CUR)
		if errno != 0 {
			pos = 0
		}
		return []byte("pos:\t" + decimal(pos) + "\nflags:\t0" + strconv.FormatUint(uint64(f.Flags()), 8) +
			"\nmnt_id:\t1\nino:\t" + strconv.FormatUint(st.Ino, 10) + "\n")
	}, nil)
}

// place is a link to a directory that can change: /proc/self/cwd.
type place struct {
	vfs.Object
	dentry func() *vfs.Dentry
}

func newPlace(fs *vfs.FileSystem, dentry func() *vfs.Dentry) *place {
	return &place{vfs.NewObject(fs, linux.S_IFLNK|0o777), dentry}
}

// Readlink implements vfs.Symlink.
func (p *place) Readlink() (string, linux.Errno) { return p.dentry().Path(), 0 }

// Follow implements vfs.MagicLink.
func (p *place) Follow() (*vfs.Dentry, linux.Errno) { return p.dentry(), 0 }

// Open implements vfs.Inode. A symbolic link itself cannot be opened.
func (p *place) Open(*vfs.Dentry, uint32) (file.File, linux.Errno) { return nil, linux.ELOOP }
