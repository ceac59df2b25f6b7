package ninep

import (
	"runtime"
	"weak"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// directory is a directory of the server. It remembers the dentries in use, so
// that they follow when the program renames or removes them.
type directory struct {
	node
	names map[string]weak.Pointer[vfs.Dentry] // guarded by node.mu
}

// Lookup implements vfs.Dir.
func (d *directory) Lookup(at *vfs.Dentry, name string) (*vfs.Dentry, linux.Errno) {
	f := d.handle.hold()
	defer f.drop()
	found, id, errno := d.fs.c.walk(f, name)
	if errno != 0 {
		return nil, errno
	}
	return d.dentry(at, name, d.fs.node(found, id)), 0
}

// dentry returns the dentry of name that is in use, or a new one.
func (d *directory) dentry(at *vfs.Dentry, name string, inode vfs.Inode) *vfs.Dentry {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.names[name].Value(); e != nil && e.Inode() == inode && e.Parent() == at {
		return e
	}
	e := vfs.NewDentry(at, name, inode)
	d.remember(name, e)
	return e
}

// remember makes Lookup find e for as long as something refers to it. d.mu is
// held.
func (d *directory) remember(name string, e *vfs.Dentry) {
	d.names[name] = weak.Make(e)
	runtime.AddCleanup(e, d.tidy, name)
}

func (d *directory) tidy(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.names[name]; ok && p.Value() == nil {
		delete(d.names, name)
	}
}

// removed marks the dentry of a name that was removed.
func (d *directory) removed(e *vfs.Dentry) {
	e.Delete()
	d.mu.Lock()
	delete(d.names, e.Name())
	d.mu.Unlock()
}

// List implements vfs.Dir. Open directories use a Stream instead.
func (d *directory) List(pos int64, fn func(vfs.DirEntry) bool) linux.Errno {
	s, errno := d.Stream()
	if errno != 0 {
		return errno
	}
	defer s.Close()
	return s.List(pos, func(e vfs.DirEntry) bool { return e.Name == "." || e.Name == ".." || fn(e) })
}

// Open implements vfs.Inode.
func (d *directory) Open(at *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	return vfs.OpenStream(at, flags)
}

// inherit returns the mode and group for a new object in the directory. mode is
// the requested mode. In a set-group-ID directory the object gets the
// directory's group, and a new directory the set-group-ID bit (inode(7)). The
// client must do this, because servers follow the request. inherit uses the
// known attributes of the directory, to save a request per object.
func (d *directory) inherit(f *fid, mode uint32) (newMode, gid uint32, errno linux.Errno) {
	d.mu.Lock()
	st, stale := d.known, d.stale || d.known.Mode == 0
	d.mu.Unlock()
	if stale {
		errno = d.statBy(f, &st)
	}
	if errno != 0 || st.Mode&linux.S_ISGID == 0 {
		return mode, cred.Current().GID.FS, errno
	}
	if mode&linux.S_IFMT == linux.S_IFDIR {
		mode |= linux.S_ISGID
	}
	return mode, st.GID, 0
}

// Make implements vfs.MutableDir.
func (d *directory) Make(at *vfs.Dentry, name string, n *vfs.NewInode) (*vfs.Dentry, linux.Errno) {
	f := d.handle.hold()
	defer f.drop()
	mode, gid, errno := d.inherit(f, n.Mode)
	if errno != 0 {
		return nil, errno
	}
	var open *openFid
	switch mode & linux.S_IFMT {
	case linux.S_IFDIR:
		errno = d.fs.c.mkdir(f, name, mode&0o7777, gid)
	case linux.S_IFLNK:
		errno = d.fs.c.symlink(f, name, n.Target, gid)
	case linux.S_IFREG:
		open, errno = d.create(f, name, mode, gid)
	default:
		errno = d.fs.c.mknod(f, name, n, gid)
	}
	if errno != 0 {
		return nil, errno
	}
	e, errno := d.Lookup(at, name)
	if open == nil {
		return e, errno
	}
	if errno == 0 {
		if r, ok := e.Inode().(*regular); ok {
			r.created(mode, open)
			return e, 0
		}
		errno = linux.ENOENT // another user has replaced it by something else
	}
	open.close()
	return nil, errno
}

// create makes a regular file and leaves it open. The creator of a file may
// write to it whatever its mode, but only through this open.
func (d *directory) create(f *fid, name string, mode, gid uint32) (*openFid, linux.Errno) {
	open, errno := d.fs.c.clone(f)
	if errno != 0 {
		return nil, errno
	}
	unit, errno := d.fs.c.lcreate(open, name, linux.O_CREAT|linux.O_EXCL|linux.O_RDWR, mode, gid)
	if errno != 0 {
		open.drop()
		return nil, errno
	}
	return &openFid{open, unit}, 0
}

// Link implements vfs.MutableDir.
func (d *directory) Link(at *vfs.Dentry, name string, target vfs.Inode) (*vfs.Dentry, linux.Errno) {
	n := base(target)
	if n == nil {
		return nil, linux.EXDEV
	}
	f, to := d.handle.hold(), n.handle.hold()
	defer f.drop()
	defer to.drop()
	if errno := d.fs.c.link(f, to, name); errno != 0 {
		return nil, errno
	}
	return d.Lookup(at, name)
}

// Unlink implements vfs.MutableDir.
func (d *directory) Unlink(child *vfs.Dentry) linux.Errno {
	f := d.handle.hold()
	defer f.drop()
	flags := uint32(0)
	if base(child.Inode()).id.Kind == wire.KindDir {
		flags = wire.RemoveDir
	}
	if errno := d.fs.c.unlinkat(f, child.Name(), flags); errno != 0 {
		return errno
	}
	d.removed(child)
	return 0
}

// Rename implements vfs.MutableDir.
func (d *directory) Rename(child, dir *vfs.Dentry, name string, over *vfs.Dentry) linux.Errno {
	to := dir.Inode().(*directory)
	from, into := d.handle.hold(), to.handle.hold()
	defer from.drop()
	defer into.drop()
	if errno := d.fs.c.renameat(from, child.Name(), into, name); errno != 0 {
		return errno
	}
	if over != nil {
		to.removed(over)
	}
	d.mu.Lock()
	delete(d.names, child.Name())
	d.mu.Unlock()
	child.Move(dir, name)
	to.mu.Lock()
	to.remember(name, child)
	to.mu.Unlock()
	return 0
}

// Exchange implements vfs.MutableDir. The protocol has no such request.
func (d *directory) Exchange(a, b *vfs.Dentry) linux.Errno { return linux.EINVAL }

// symlink is a symbolic link of the server.
type symlink struct{ node }

// Readlink implements vfs.Symlink.
func (s *symlink) Readlink() (string, linux.Errno) {
	f := s.handle.hold()
	defer f.drop()
	return s.fs.c.readlink(f)
}

// Open implements vfs.Inode. A symbolic link itself cannot be opened.
func (s *symlink) Open(*vfs.Dentry, uint32) (file.File, linux.Errno) { return nil, linux.ELOOP }
