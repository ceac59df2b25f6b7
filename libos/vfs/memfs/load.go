package memfs

import (
	"errors"
	"strings"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/cpio"
)

// loader fills a file system from an archive.
type loader struct {
	fs    *FS
	links map[uint32]*vfs.Dentry // key: the archive's inode number
	dirs  []func()               // functions that set the directories' times, once all files are added
}

// Load adds the files of archive. The archive must not change afterwards,
// because files use their data in place.
func (fs *FS) Load(archive []byte) error {
	l := loader{fs: fs, links: map[uint32]*vfs.Dentry{}}
	root := fs.Top(fs.root)
	err := cpio.Read(archive, func(e *cpio.Entry) error { return l.add(root, e) })
	for _, set := range l.dirs {
		set()
	}
	return err
}

func (l *loader) add(root *vfs.Dentry, e *cpio.Entry) error {
	at, name, err := l.place(root, e.Name)
	if err != nil {
		return err
	}
	d, err := l.make(at, name, e)
	if err != nil {
		return err
	}
	n, ok := d.Inode().(node)
	if !ok {
		return errors.New("exists already and belongs to another file system")
	}
	if r, ok := n.(*regular); ok && len(e.Data) > 0 {
		r.archive, r.size = e.Data, int64(len(e.Data))
	}
	i := n.base()
	i.perm, i.uid, i.gid = e.Mode&0o7777, e.UID, e.GID
	setTimes := func() {
		i.mtime = linux.Timespec{Sec: int64(e.Mtime)}
		i.atime, i.ctime = i.mtime, i.mtime
	}
	setTimes()
	if i.typ == linux.S_IFDIR {
		l.dirs = append(l.dirs, setTimes)
	}
	return nil
}

// Fill makes a directory, regular file or symbolic link at path, unless the
// path exists. data is the file's content or the link's target.
func (fs *FS) Fill(path string, mode uint32, data []byte) error {
	l := loader{fs: fs}
	at, name, err := l.place(fs.Top(fs.root), path)
	if err != nil {
		return err
	}
	dir, ok := at.Inode().(*directory)
	if !ok {
		return errors.New("stands below something that is not a directory")
	}
	if _, errno := dir.Lookup(at, name); errno == 0 {
		return nil
	}
	d, err := checked(dir.Make(at, name, &vfs.NewInode{Mode: mode, Target: string(data)}))
	if err != nil {
		return err
	}
	if r, ok := d.Inode().(*regular); ok && len(data) > 0 {
		r.archive, r.size = data, int64(len(data))
	}
	return nil
}

// place returns the directory of path, making missing parents, and the last
// component of path.
func (l *loader) place(at *vfs.Dentry, path string) (dir *vfs.Dentry, name string, err error) {
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, "", errors.New("path contains \"..\"")
		case len(part) > vfs.NameMax:
			return nil, "", errors.New("name is too long")
		}
		if name != "" {
			if at, err = l.make(at, name, &cpio.Entry{Mode: linux.S_IFDIR | 0o755}); err != nil {
				return nil, "", err
			}
		}
		name = part
	}
	return at, name, nil
}

// make finds or makes name in directory at. An empty name is at itself.
func (l *loader) make(at *vfs.Dentry, name string, e *cpio.Entry) (*vfs.Dentry, error) {
	dir, ok := at.Inode().(*directory)
	if !ok {
		return nil, errors.New("stands below something that is not a directory")
	}
	typ := e.Mode & linux.S_IFMT
	d := at
	if name != "" {
		var errno linux.Errno
		if d, errno = dir.Lookup(at, name); errno != 0 {
			return l.fresh(dir, at, name, e)
		}
	}
	var st linux.Stat
	if d.Inode().Stat(&st); st.Mode&linux.S_IFMT != typ || typ != linux.S_IFDIR {
		return nil, errors.New("appears twice in the archive")
	}
	return d, nil
}

// fresh makes a new object, or another hard link to an earlier one.
func (l *loader) fresh(dir *directory, at *vfs.Dentry, name string, e *cpio.Entry) (*vfs.Dentry, error) {
	shared := e.Nlink > 1 && e.Mode&linux.S_IFMT != linux.S_IFDIR
	if first := l.links[e.Ino]; shared && first != nil {
		var st linux.Stat
		if first.Inode().Stat(&st); (st.Mode^e.Mode)&linux.S_IFMT != 0 {
			return nil, errors.New("is a hard link to a file of another type")
		}
		return checked(dir.Link(at, name, first.Inode()))
	}
	switch e.Mode & linux.S_IFMT {
	case linux.S_IFREG, linux.S_IFDIR, linux.S_IFLNK, linux.S_IFIFO, linux.S_IFSOCK, linux.S_IFCHR, linux.S_IFBLK:
	default:
		return nil, errors.New("has an unknown file type")
	}
	d, err := checked(dir.Make(at, name, &vfs.NewInode{
		Mode: e.Mode, Rdev: linux.Makedev(e.Rdev[0], e.Rdev[1]), Target: string(e.Data),
	}))
	if shared && err == nil {
		l.links[e.Ino] = d
	}
	return d, err
}

func checked(d *vfs.Dentry, errno linux.Errno) (*vfs.Dentry, error) {
	if errno != 0 {
		return nil, errors.New(errno.Name())
	}
	return d, nil
}
