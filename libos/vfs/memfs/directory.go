package memfs

import (
	"sort"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// directory keeps its entries in the order in which they were made. Each has a
// number that never changes and is the position in a listing. A listing
// therefore survives any change to the directory.
type directory struct {
	inode
	names map[string]int64 // name to the entry's seq
	order []entry          // sorted by seq; removed entries have no dentry
	seq   int64            // seq of the last entry made
}

type entry struct {
	seq    int64
	name   string
	dentry *vfs.Dentry
	ino    uint64
	typ    uint32
}

func (fs *FS) newDirectory(perm uint32) *directory {
	return &directory{inode: fs.newInode(linux.S_IFDIR, perm, 2), names: map[string]int64{}}
}

// Open implements vfs.Inode.
func (d *directory) Open(at *vfs.Dentry, flags uint32) (file.File, linux.Errno) {
	return vfs.OpenDir(at, flags), 0
}

// entrySize is how much each entry adds to a directory's size in bytes, as in
// tmpfs.
const entrySize = 20

// Stat implements vfs.Inode.
func (d *directory) Stat(st *linux.Stat) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.stat(st)
	st.Size = int64(2+len(d.names)) * entrySize
}

// find returns the index in order of the first entry after seq.
func (d *directory) find(seq int64) int {
	return sort.Search(len(d.order), func(i int) bool { return d.order[i].seq > seq })
}

// Lookup implements vfs.Dir.
func (d *directory) Lookup(_ *vfs.Dentry, name string) (*vfs.Dentry, linux.Errno) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if seq, ok := d.names[name]; ok {
		return d.order[d.find(seq-1)].dentry, 0
	}
	return nil, linux.ENOENT
}

// List implements vfs.Dir.
func (d *directory) List(pos int64, fn func(vfs.DirEntry) bool) linux.Errno {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, e := range d.order[d.find(pos):] {
		if e.dentry != nil && !fn(vfs.DirEntry{Name: e.name, Ino: e.ino, Mode: e.typ, Next: e.seq}) {
			break
		}
	}
	return 0
}

// insert adds a name for dentry's inode.
func (d *directory) insert(name string, dentry *vfs.Dentry) {
	var st linux.Stat
	dentry.Inode().Stat(&st)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	d.names[name] = d.seq
	d.order = append(d.order, entry{d.seq, name, dentry, st.Ino, st.Mode & linux.S_IFMT})
	if st.Mode&linux.S_IFMT == linux.S_IFDIR {
		d.nlink++
	}
	d.changed()
}

// erase removes a name.
func (d *directory) erase(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := &d.order[d.find(d.names[name]-1)]
	if e.typ == linux.S_IFDIR {
		d.nlink--
	}
	e.dentry, e.name = nil, ""
	delete(d.names, name)
	d.changed()
	if len(d.order) > 2*len(d.names)+16 {
		d.compact()
	}
}

// compact drops removed entries.
func (d *directory) compact() {
	kept := make([]entry, 0, len(d.names))
	for _, e := range d.order {
		if e.dentry != nil {
			kept = append(kept, e)
		}
	}
	d.order = kept
}

// changed sets the times after a change of the entries, with d.mu held.
func (d *directory) changed() {
	d.mtime = vfs.Now()
	d.ctime = d.mtime
}

// Make implements vfs.MutableDir.
func (d *directory) Make(at *vfs.Dentry, name string, n *vfs.NewInode) (*vfs.Dentry, linux.Errno) {
	inode := d.fs.newNode(n)
	d.inherit(inode.base())
	dentry := vfs.NewDentry(at, name, inode)
	d.insert(name, dentry)
	return dentry, 0
}

// inherit gives a new object in a set-group-ID directory the directory's group.
// A new directory also gets the set-group-ID bit (inode(7)).
func (d *directory) inherit(i *inode) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.perm&linux.S_ISGID == 0 {
		return
	}
	i.gid = d.gid
	if i.typ == linux.S_IFDIR {
		i.perm |= linux.S_ISGID
	}
}

func (fs *FS) newNode(n *vfs.NewInode) node {
	typ, perm := n.Mode&linux.S_IFMT, n.Mode&0o7777
	switch typ {
	case linux.S_IFDIR:
		return fs.newDirectory(perm)
	case linux.S_IFLNK:
		return &symlink{fs.newInode(typ, 0o777, 1), n.Target}
	case linux.S_IFREG:
		return fs.newRegular(perm, 1)
	}
	s := &special{fs.newInode(typ, perm, 1)}
	s.rdev = n.Rdev
	return s
}

// MakeTemporary implements vfs.TemporaryMaker.
func (d *directory) MakeTemporary(mode uint32, linkable bool) vfs.Inode {
	r := d.fs.newRegular(mode&0o7777, 0)
	d.inherit(&r.inode)
	r.linkable = linkable
	return r
}

// maxNlink is the largest number of hard links to an object.
const maxNlink = 1<<32 - 1

// Link implements vfs.MutableDir.
func (d *directory) Link(at *vfs.Dentry, name string, target vfs.Inode) (*vfs.Dentry, linux.Errno) {
	n, ok := target.(node)
	if !ok {
		return nil, linux.EPERM
	}
	i := n.base()
	if i.nlink == maxNlink {
		return nil, linux.EMLINK
	}
	if !i.relink() {
		return nil, linux.ENOENT
	}
	dentry := vfs.NewDentry(at, name, target)
	d.insert(name, dentry)
	return dentry, 0
}

// Unlink implements vfs.MutableDir.
func (d *directory) Unlink(child *vfs.Dentry) linux.Errno {
	if errno := empty(child); errno != 0 {
		return errno
	}
	d.erase(child.Name())
	forget(child)
	return 0
}

// empty returns ENOTEMPTY for a directory that has entries.
func empty(e *vfs.Dentry) linux.Errno {
	d, ok := e.Inode().(*directory)
	if !ok {
		return 0
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.names) > 0 {
		return linux.ENOTEMPTY
	}
	return 0
}

// forget drops the name e, which was removed from its directory.
func forget(e *vfs.Dentry) {
	e.Delete()
	switch n := e.Inode().(type) {
	case *directory:
		n.link(-2)
	case *regular:
		n.link(-1)
		n.reclaim()
	case node:
		n.base().link(-1)
	}
}

// Rename implements vfs.MutableDir.
func (d *directory) Rename(child, dir *vfs.Dentry, name string, over *vfs.Dentry) linux.Errno {
	to := dir.Inode().(*directory)
	if over != nil {
		if errno := empty(over); errno != 0 {
			return errno
		}
		to.erase(name)
		forget(over)
	}
	d.erase(child.Name())
	child.Move(dir, name)
	to.insert(name, child)
	touch(child)
	return 0
}

// Exchange implements vfs.MutableDir.
func (d *directory) Exchange(a, b *vfs.Dentry) linux.Errno {
	dirA, nameA := a.Parent(), a.Name()
	dirB, nameB := b.Parent(), b.Name()
	inA, inB := dirA.Inode().(*directory), dirB.Inode().(*directory)
	inA.erase(nameA)
	inB.erase(nameB)
	a.Move(dirB, nameB)
	b.Move(dirA, nameA)
	inB.insert(nameB, a)
	inA.insert(nameA, b)
	touch(a)
	touch(b)
	return 0
}

// touch sets the change time of a renamed object.
func touch(e *vfs.Dentry) {
	if n, ok := e.Inode().(node); ok {
		n.base().link(0)
	}
}
