package vfs

import "github.com/pith-os/pith/libos/linux"

// Make is mkdir(2), mknod(2) or symlink(2), depending on the type in n.Mode.
func Make(at *Dentry, path string, n *NewInode) linux.Errno {
	Root()
	tree.Lock()
	defer tree.Unlock()
	var w walker
	l, errno := w.vacant(at, path, n.Mode&linux.S_IFMT == linux.S_IFDIR)
	if errno != 0 {
		return errno
	}
	_, errno = l.make(n)
	return errno
}

// vacant resolves path to a place where a new name can be made.
func (w *walker) vacant(at *Dentry, path string, isDir bool) (last, linux.Errno) {
	l, errno := w.parent(at, path)
	if errno != 0 {
		return l, errno
	}
	if l.special() {
		return l, linux.EEXIST
	}
	switch _, errno := l.child(); {
	case errno == 0:
		return l, linux.EEXIST
	case errno != linux.ENOENT:
		return l, errno
	case l.slash && !isDir:
		return l, linux.ENOENT
	}
	return l, 0
}

// editable returns l's directory, after checking that its names may be changed.
func (l *last) editable() (MutableDir, linux.Errno) {
	if l.dir.deleted {
		return nil, linux.ENOENT
	}
	if l.dir.inode.FS().ReadOnly {
		return nil, linux.EROFS
	}
	dir, ok := l.dir.inode.(MutableDir)
	if !ok {
		return nil, linux.EPERM
	}
	return dir, l.dir.May(Write | Execute)
}

func (l *last) make(n *NewInode) (*Dentry, linux.Errno) {
	dir, errno := l.editable()
	if errno != 0 {
		return nil, errno
	}
	d, errno := dir.Make(l.dir, l.name, n)
	if errno == 0 {
		notifyEntry(d, linux.IN_CREATE)
	}
	return d, errno
}

// Hardlink is link(2): it makes another name for d's inode.
func Hardlink(d *Dentry, at *Dentry, path string) linux.Errno {
	Root()
	tree.Lock()
	defer tree.Unlock()
	var w walker
	l, errno := w.vacant(at, path, false)
	if errno != 0 {
		return errno
	}
	if l.dir.inode.FS() != d.inode.FS() {
		return linux.EXDEV
	}
	if errno := mayLink(d); errno != 0 {
		return errno
	}
	dir, errno := l.editable()
	if errno != 0 {
		return errno
	}
	if _, ok := d.inode.(Dir); ok {
		return linux.EPERM
	}
	made, errno := dir.Link(l.dir, l.name, d.inode)
	if errno == 0 {
		notifySelf(d.inode, linux.IN_ATTRIB)
		notifyEntry(made, linux.IN_CREATE)
	}
	return errno
}

// Unlink is unlink(2).
func Unlink(at *Dentry, path string) linux.Errno {
	return remove(at, path, func(l *last) (*Dentry, linux.Errno) {
		if l.special() {
			return nil, linux.EISDIR
		}
		d, errno := l.child()
		if errno != 0 {
			return nil, errno
		}
		_, isDir := d.inode.(Dir)
		if !isDir && l.slash {
			return nil, linux.ENOTDIR
		}
		if !l.slash {
			errno = mayRemove(l.dir, d)
		}
		if errno == 0 && isDir {
			errno = linux.EISDIR
		}
		if errno != 0 {
			return nil, errno
		}
		return d, 0
	})
}

// Rmdir is rmdir(2).
func Rmdir(at *Dentry, path string) linux.Errno {
	return remove(at, path, func(l *last) (*Dentry, linux.Errno) {
		switch l.name {
		case "":
			return nil, linux.EBUSY
		case ".":
			return nil, linux.EINVAL
		case "..":
			return nil, linux.ENOTEMPTY
		}
		d, errno := l.child()
		if errno != 0 {
			return nil, errno
		}
		if errno := mayRemove(l.dir, d); errno != 0 {
			return nil, errno
		}
		if _, ok := d.inode.(Dir); !ok {
			return nil, linux.ENOTDIR
		}
		return d, 0
	})
}

// remove removes the name at path that find accepts.
func remove(at *Dentry, path string, find func(l *last) (*Dentry, linux.Errno)) linux.Errno {
	Root()
	tree.Lock()
	defer tree.Unlock()
	var w walker
	l, errno := w.parent(at, path)
	if errno != 0 {
		return errno
	}
	d, errno := find(&l)
	if errno != 0 {
		return errno
	}
	if d.busy() {
		return linux.EBUSY
	}
	dir, errno := l.editable()
	if errno != 0 {
		return errno
	}
	if errno := dir.Unlink(d); errno != 0 {
		return errno
	}
	notifyRemoved(d)
	notifyEntry(d, linux.IN_DELETE)
	return 0
}

// busy reports whether d is a mount point or the root of a file system.
func (d *Dentry) busy() bool { return d.parent == nil || d.mounted != nil }

// Rename is renameat2(2) with RENAME_EXCHANGE, RENAME_NOREPLACE or neither.
func Rename(fromAt *Dentry, from string, toAt *Dentry, to string, flags uint) linux.Errno {
	exchange := flags&linux.RENAME_EXCHANGE != 0
	noReplace := flags&linux.RENAME_NOREPLACE != 0
	Root()
	tree.Lock()
	defer tree.Unlock()
	var w walker
	src, errno := w.parent(fromAt, from)
	if errno != 0 {
		return errno
	}
	w = walker{}
	dst, errno := w.parent(toAt, to)
	if errno != 0 {
		return errno
	}
	if src.dir.inode.FS() != dst.dir.inode.FS() {
		return linux.EXDEV
	}
	switch {
	case src.special(), dst.special() && !noReplace:
		return linux.EBUSY
	case dst.special():
		return linux.EEXIST
	}
	old, errno := src.child()
	if errno != 0 {
		return errno
	}
	over, errno := dst.child()
	switch {
	case errno == linux.ENOENT && exchange:
		return errno
	case errno == linux.ENOENT:
		over = nil
	case errno != 0:
		return errno
	case noReplace:
		return linux.EEXIST
	}
	if errno := renamable(&src, &dst, old, over, exchange); errno != 0 {
		return errno
	}
	if over != nil && over.inode == old.inode {
		return 0
	}
	return move(&src, &dst, old, over, exchange)
}

// renamable makes the checks of renameat2(2), in the kernel's order.
func renamable(src, dst *last, old, over *Dentry, exchange bool) linux.Errno {
	_, oldDir := old.inode.(Dir)
	overDir := false
	if over != nil {
		_, overDir = over.inode.(Dir)
	}
	switch {
	case exchange && !overDir && dst.slash:
		return linux.ENOTDIR
	case !oldDir && (src.slash || !exchange && dst.slash):
		return linux.ENOTDIR
	case dst.dir.below(old):
		return linux.EINVAL
	case over != nil && src.dir.below(over):
		if exchange {
			return linux.EINVAL
		}
		return linux.ENOTEMPTY
	case over != nil && over.inode == old.inode:
		return 0
	}
	if errno := mayMove(src, dst, old, over); errno != 0 {
		return errno
	}
	switch {
	case over == nil || exchange:
	case oldDir && !overDir:
		return linux.ENOTDIR
	case !oldDir && overDir:
		return linux.EISDIR
	}
	for _, d := range []*Dentry{old, over} {
		// The directory's entry ".." changes.
		if d == nil || src.dir == dst.dir || d == over && !exchange || isDir(d) != 0 {
			continue
		}
		if errno := d.May(Write); errno != 0 {
			return errno
		}
	}
	if old.busy() || over != nil && over.busy() {
		return linux.EBUSY
	}
	return 0
}

// mayMove checks the permissions for moving old to the place of over. over is
// nil when nothing is there.
func mayMove(src, dst *last, old, over *Dentry) linux.Errno {
	if errno := mayRemove(src.dir, old); errno != 0 {
		return errno
	}
	if over != nil {
		return mayRemove(dst.dir, over)
	}
	return dst.dir.May(Write | Execute)
}

// below reports whether d is top or inside it.
func (d *Dentry) below(top *Dentry) bool {
	for ; d != nil; d = d.parent {
		if d == top {
			return true
		}
	}
	return false
}

func move(src, dst *last, old, over *Dentry, exchange bool) linux.Errno {
	from, errno := src.editable()
	if errno != 0 {
		return errno
	}
	if _, errno = dst.editable(); errno != 0 {
		return errno
	}
	if exchange {
		errno = from.Exchange(old, over)
	} else {
		errno = from.Rename(old, dst.dir, dst.name, over)
	}
	if errno != 0 {
		return errno
	}
	notifyMoved(src, dst, old)
	if exchange {
		notifyMoved(dst, src, over)
	} else if over != nil {
		notifyRemoved(over)
	}
	return 0
}
