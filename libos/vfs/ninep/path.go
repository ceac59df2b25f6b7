package ninep

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// LookupPath implements vfs.PathDir. Directories that were found before and are
// still referenced go into one Twalk request together with the next name. The
// server reports the qid of each. When one differs from the known qid,
// LookupPath looks up the first name alone.
func (d *directory) LookupPath(at *vfs.Dentry, names []string) ([]*vfs.Dentry, linux.Errno) {
	if known := d.remembered(at, names); len(known) > 0 {
		if found := d.walk(known, names[:len(known)+1]); found != nil {
			return found, 0
		}
	}
	e, errno := d.Lookup(at, names[0])
	if errno != 0 {
		return nil, errno
	}
	return []*vfs.Dentry{e}, 0
}

// remembered returns the known directories that names begins with, without the
// last name. It returns no more than fit into one message.
func (d *directory) remembered(at *vfs.Dentry, names []string) (known []*vfs.Dentry) {
	size := 0
	for _, name := range names[:min(len(names), wire.MaxWalk)-1] {
		if size += 2 + len(name); size > wire.MinMessage/2 {
			break
		}
		d.mu.Lock()
		e := d.names[name].Value()
		d.mu.Unlock()
		if e == nil || e.Parent() != at {
			break
		}
		next, ok := e.Inode().(*directory)
		if !ok {
			break
		}
		known = append(known, e)
		at, d = e, next
	}
	return known
}

// walk walks along known and then to the last of names. It returns known and
// the dentry of that last name, if the name exists. It returns nil when the
// names lead elsewhere.
func (d *directory) walk(known []*vfs.Dentry, names []string) []*vfs.Dentry {
	from := d.handle.hold()
	defer from.drop()
	f, ids, errno := d.fs.c.walkPath(from, names...)
	if errno != 0 || len(ids) < len(known) {
		return nil
	}
	for i, e := range known {
		if base(e.Inode()).id != ids[i] {
			if f != nil {
				f.drop()
			}
			return nil
		}
	}
	if f == nil {
		return known
	}
	last := known[len(known)-1]
	inode := d.fs.node(f, ids[len(known)])
	return append(known, last.Inode().(*directory).dentry(last, names[len(known)], inode))
}
