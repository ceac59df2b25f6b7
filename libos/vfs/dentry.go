package vfs

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// tree guards all names: Dentry fields, directories' contents and mounts. One
// lock for the whole tree makes a rename atomic, and a program's path walks
// only read it.
var tree sync.RWMutex

// Dentry is a name in the tree and the inode it stands for. Hard links are
// dentries with the same inode.
type Dentry struct {
	inode   Inode
	parent  *Dentry // nil for the root of a file system
	name    string
	deleted bool
	mounted *Dentry // the root of the file system mounted here
	covers  *Dentry // for the root of a file system: where it is mounted
}

// NewDentry makes the dentry of inode under name in parent; parent is nil for
// the root of a file system and for objects outside the tree, whose name is
// what /proc/self/fd shows ("pipe:[1]").
func NewDentry(parent *Dentry, name string, inode Inode) *Dentry {
	return &Dentry{inode: inode, parent: parent, name: name}
}

// Inode is the object that the name stands for.
func (d *Dentry) Inode() Inode { return d.inode }

// Stat is stat(2) of what the name stands for.
func (d *Dentry) Stat(st *linux.Stat) linux.Errno {
	if r, ok := d.inode.(Remote); ok {
		return r.TryStat(st)
	}
	d.inode.Stat(st)
	return 0
}

// Name is the last component of the path. A file system calls it with the tree
// locked.
func (d *Dentry) Name() string { return d.name }

// Parent is the directory of the name in its file system, nil for its root. A
// file system calls it with the tree locked.
func (d *Dentry) Parent() *Dentry { return d.parent }

// Move gives d another place. It is for file systems that store their names,
// in Rename and Exchange.
func (d *Dentry) Move(parent *Dentry, name string) { d.parent, d.name = parent, name }

// Deleted says whether the name was removed.
func (d *Dentry) Deleted() bool {
	tree.RLock()
	defer tree.RUnlock()
	return d.deleted
}

// Up is the directory above d, across mounts; the root is above itself.
func (d *Dentry) Up() *Dentry {
	tree.RLock()
	defer tree.RUnlock()
	return d.up()
}

// Delete marks d as removed. It is for file systems that store their names.
func (d *Dentry) Delete() { d.deleted = true }

// root is the root of the tree, cwd the working directory.
var (
	root atomic.Pointer[Dentry]
	cwd  atomic.Pointer[Dentry]
)

// Path is the absolute path of d, with " (deleted)" after a name that is no
// more, as /proc/self/fd shows it. What is not in the tree has its name alone.
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

// up is the directory above d, across mounts; the root is above itself.
func (d *Dentry) up() *Dentry {
	for d.parent == nil {
		if d.covers == nil {
			return d
		}
		d = d.covers
	}
	return d.parent.top()
}

// top is what stands over d when file systems are mounted there.
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

// DentryOf is the name that f was opened by, or nil: sockets and the like.
func DentryOf(f file.File) *Dentry {
	if o, ok := f.(Opened); ok {
		return o.Dentry()
	}
	return nil
}
