package vfs

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// tree guards all names: the fields of Dentry, the contents of directories and
// the mounts. One lock for the whole tree makes a rename atomic. Resolving a
// path only read-locks it.
var tree sync.RWMutex

// Dentry is a name in the tree, with the inode that it stands for. Hard links
// are dentries with the same inode.
type Dentry struct {
	inode   Inode
	parent  *Dentry // nil for the root of a file system
	name    string
	deleted bool
	mounted *Dentry // the root of the file system mounted here
	covers  *Dentry // mount point, for the root of a file system
}

// NewDentry returns a dentry for inode under name in parent. parent is nil for
// the root of a file system and for objects outside the tree. The name of such
// an object is what /proc/self/fd shows ("pipe:[1]").
func NewDentry(parent *Dentry, name string, inode Inode) *Dentry {
	return &Dentry{inode: inode, parent: parent, name: name}
}

// Inode returns the inode of the name.
func (d *Dentry) Inode() Inode { return d.inode }

// Stat is stat(2) of the inode.
func (d *Dentry) Stat(st *linux.Stat) linux.Errno {
	if r, ok := d.inode.(Remote); ok {
		return r.TryStat(st)
	}
	d.inode.Stat(st)
	return 0
}

// Name returns the last component of the path. A file system calls it with the
// tree locked.
func (d *Dentry) Name() string { return d.name }

// Parent returns the directory of the name, or nil for the root of a file
// system. A file system calls it with the tree locked.
func (d *Dentry) Parent() *Dentry { return d.parent }

// Move gives d another directory and name. File systems that store their names
// call it in Rename and Exchange.
func (d *Dentry) Move(parent *Dentry, name string) { d.parent, d.name = parent, name }

// Deleted reports whether the name was removed.
func (d *Dentry) Deleted() bool {
	tree.RLock()
	defer tree.RUnlock()
	return d.deleted
}

// Up returns the parent directory of d, across mounts. The root is its own
// parent.
func (d *Dentry) Up() *Dentry {
	tree.RLock()
	defer tree.RUnlock()
	return d.up()
}

// Delete marks d as removed. File systems that store their names call it.
func (d *Dentry) Delete() { d.deleted = true }

// root is the root of the tree; cwd is the working directory.
var (
	root atomic.Pointer[Dentry]
	cwd  atomic.Pointer[Dentry]
)

// Path returns the absolute path of d as /proc/self/fd shows it, with "
// (deleted)" after a removed name. For an object outside the tree it returns
// the name alone.
func (d *Dentry) Path() string {
	tree.RLock()
	defer tree.RUnlock()
	p, deleted := d.path()
	if deleted {
		p += " (deleted)"
	}
	return p
}

func (d *Dentry) path() (path string, deleted bool) {
	var names []string
	size := 0
	for {
		deleted = deleted || d.deleted
		if d.parent == nil {
			if d.covers == nil {
				break
			}
			d = d.covers
			continue
		}
		names = append(names, d.name)
		size += 1 + len(d.name)
		d = d.parent
	}
	if d != root.Load() {
		return d.name, deleted
	}
	if len(names) == 0 {
		return "/", deleted
	}
	b := make([]byte, 0, size)
	for i := len(names) - 1; i >= 0; i-- {
		b = append(b, '/')
		b = append(b, names[i]...)
	}
	return string(b), deleted
}

// up is Up with the tree locked.
func (d *Dentry) up() *Dentry {
	for d.parent == nil {
		if d.covers == nil {
			return d
		}
		d = d.covers
	}
	return d.parent.top()
}

// top returns the root of the topmost file system mounted on d, or d.
func (d *Dentry) top() *Dentry {
	for d.mounted != nil {
		d = d.mounted
	}
	return d
}

// Opened is a file.File that was opened by a name in the tree.
type Opened interface {
	file.File
	Dentry() *Dentry
}

// DentryOf returns the name that f was opened by. It returns nil for files
// without one, such as sockets.
func DentryOf(f file.File) *Dentry {
	if o, ok := f.(Opened); ok {
		return o.Dentry()
	}
	return nil
}
