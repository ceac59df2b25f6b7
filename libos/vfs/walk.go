package vfs

import (
	"iter"
	"strings"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
)

// maxLinks is how many symbolic links one path may lead through
// (path_resolution(7)).
const maxLinks = 40

// Cwd is the working directory.
func Cwd() *Dentry {
	Root()
	return cwd.Load()
}

// Chdir makes d, a directory, the working directory.
func Chdir(d *Dentry) linux.Errno {
	if _, ok := d.inode.(Dir); !ok {
		return linux.ENOTDIR
	}
	if errno := search(d); errno != 0 {
		return errno
	}
	cwd.Store(d)
	return 0
}

// Walk resolves path, from directory at when it is relative. follow tells
// whether a symbolic link in the last component is followed.
func Walk(at *Dentry, path string, follow bool) (*Dentry, linux.Errno) {
	Root()
	var w walker
	return w.locked(at, path, follow)
}

// Resolve restricts how a path is resolved (openat2(2)).
type Resolve uint64

// Restrictions of openat2(2) (include/uapi/linux/openat2.h).
const (
	ResolveNoXDev       Resolve = 0x1
	ResolveNoMagicLinks Resolve = 0x2
	ResolveNoSymlinks   Resolve = 0x4
	ResolveBeneath      Resolve = 0x8
	ResolveInRoot       Resolve = 0x10
	ResolveMask                 = ResolveNoXDev | ResolveNoMagicLinks | ResolveNoSymlinks | ResolveBeneath | ResolveInRoot
)

// walker resolves one path, with the tree locked but where it says otherwise.
type walker struct {
	links   int
	resolve Resolve
	base    *Dentry // of ResolveBeneath and ResolveInRoot

	rest  string    // of the path, after the component that is being resolved
	ahead []*Dentry // what was found of that already
}

// locked is walk for one who did not lock the tree.
func (w *walker) locked(at *Dentry, path string, follow bool) (*Dentry, linux.Errno) {
	tree.RLock()
	defer tree.RUnlock()
	return w.walk(at, path, follow)
}

func (w *walker) walk(at *Dentry, path string, follow bool) (*Dentry, linux.Errno) {
	l, errno := w.parent(at, path)
	if errno != 0 {
		return nil, errno
	}
	d, errno := w.step(l.dir, l.name, follow || l.slash)
	if errno != 0 {
		return nil, errno
	}
	if _, ok := d.inode.(Dir); l.slash && !ok {
		return nil, linux.ENOTDIR
	}
	return d, 0
}

// last is the last component of a path and the directory it stands in.
type last struct {
	dir   *Dentry
	name  string  // empty for the path "/"
	slash bool    // slashes follow the name
	found *Dentry // what it stands for, if that is known
}

// special says whether the name is not one that a directory contains.
func (l *last) special() bool { return l.name == "" || l.name == "." || l.name == ".." }

// parent resolves all of path but the last component.
func (w *walker) parent(at *Dentry, path string) (last, linux.Errno) {
	d := at
	if path == "" {
		return last{}, linux.ENOENT
	}
	if path[0] == '/' {
		var errno linux.Errno
		if d, errno = w.top(at); errno != 0 {
			return last{}, errno
		}
	}
	for {
		path = strings.TrimLeft(path, "/")
		name, rest := path, ""
		if i := strings.IndexByte(path, '/'); i >= 0 {
			name, rest = path[:i], path[i:]
		}
		errno := isDir(d)
		if errno == 0 && name != "" {
			errno = search(d)
		}
		if errno != 0 {
			return last{}, errno
		}
		if strings.Trim(rest, "/") == "" {
			w.rest = ""
			return last{d, name, rest != "", w.foundAhead(d, name)}, 0
		}
		w.rest = rest
		if d, errno = w.step(d, name, true); errno != 0 {
			return last{}, errno
		}
		path = rest
	}
}

// step goes from d to name, across mounts and, when asked, symbolic links.
func (w *walker) step(d *Dentry, name string, follow bool) (*Dentry, linux.Errno) {
	switch name {
	case "", ".":
		return d, isDir(d)
	case "..":
		return w.up(d)
	}
	next, errno := w.child(d, name)
	if errno != 0 {
		return nil, errno
	}
	if w.resolve&ResolveNoXDev != 0 && next.parent == nil {
		return nil, linux.EXDEV
	}
	if !follow {
		return next, 0
	}
	return w.follow(d, next)
}

// top is where an absolute path begins that is met at at.
func (w *walker) top(at *Dentry) (*Dentry, linux.Errno) {
	switch {
	case w.resolve&ResolveInRoot != 0:
		return w.base, 0
	case w.resolve&ResolveBeneath != 0,
		w.resolve&ResolveNoXDev != 0 && (at == nil || at.inode.FS() != root.Load().inode.FS()):
		return nil, linux.EXDEV
	}
	return root.Load(), 0
}

// up goes to "..".
func (w *walker) up(d *Dentry) (*Dentry, linux.Errno) {
	switch {
	case d == w.base && w.resolve&ResolveInRoot != 0:
		return d, isDir(d)
	case d == w.base && w.resolve&ResolveBeneath != 0,
		d.covers != nil && w.resolve&ResolveNoXDev != 0:
		return nil, linux.EXDEV
	}
	return d.up(), isDir(d)
}

func isDir(d *Dentry) linux.Errno {
	if _, ok := d.inode.(Dir); !ok {
		return linux.ENOTDIR
	}
	return 0
}

// follow goes where next, found in directory d, leads.
func (w *walker) follow(d, next *Dentry) (*Dentry, linux.Errno) {
	l, ok := next.inode.(Symlink)
	if !ok {
		return next, 0
	}
	if m, ok := l.(MagicLink); ok {
		return w.jump(m)
	}
	target, errno := w.target(l)
	if errno != 0 {
		return nil, errno
	}
	return w.walk(d, target, true)
}

// target is the path to go on with at a symbolic link.
func (w *walker) target(l Symlink) (string, linux.Errno) {
	if w.links++; w.links > maxLinks || w.resolve&ResolveNoSymlinks != 0 {
		return "", linux.ELOOP
	}
	target, errno := l.Readlink()
	if errno == 0 {
		accessed(l, 0)
	}
	return target, errno
}

// jump goes where a magic link leads.
func (w *walker) jump(l MagicLink) (*Dentry, linux.Errno) {
	w.links++
	switch {
	case w.links > maxLinks || w.resolve&(ResolveNoSymlinks|ResolveNoMagicLinks) != 0:
		return nil, linux.ELOOP
	case w.resolve&(ResolveBeneath|ResolveInRoot|ResolveNoXDev) != 0:
		return nil, linux.EXDEV
	}
	return l.Follow()
}

// Readlink is readlink(2) of d; EINVAL when it is no symbolic link.
func Readlink(d *Dentry) (string, linux.Errno) {
	l, ok := d.inode.(Symlink)
	if !ok {
		return "", linux.EINVAL
	}
	target, errno := l.Readlink()
	if errno == 0 {
		accessed(l, 0)
	}
	return target, errno
}

// accessed sets the access time of inodes that keep one.
func accessed(inode Inode, flags uint32) {
	if t, ok := inode.(interface{ Accessed(flags uint32) }); ok {
		t.Accessed(flags)
	}
}

// child is name in directory d, with the tree locked.
func child(d *Dentry, name string) (*Dentry, linux.Errno) {
	dir, ok := d.inode.(Dir)
	if !ok {
		return nil, linux.ENOTDIR
	}
	if len(name) > NameMax {
		return nil, linux.ENAMETOOLONG
	}
	next, errno := dir.Lookup(d, name)
	if errno != 0 {
		return nil, errno
	}
	return next.top(), 0
}

// child is what the name of l stands for.
func (l *last) child() (*Dentry, linux.Errno) {
	if l.found != nil {
		return l.found.top(), 0
	}
	return child(l.dir, l.name)
}

// child is child for the component of a path. Where many names cost little more
// than one, those that follow are looked up, too.
func (w *walker) child(d *Dentry, name string) (*Dentry, linux.Errno) {
	if next := w.foundAhead(d, name); next != nil {
		w.ahead = w.ahead[1:]
		return next.top(), 0
	}
	w.ahead = nil
	dir, ok := d.inode.(PathDir)
	if !ok || len(name) > NameMax {
		return child(d, name)
	}
	names := []string{name}
	for next := range components(w.rest) {
		if next == "." || next == ".." || len(next) > NameMax {
			break
		}
		names = append(names, next)
	}
	found, errno := dir.LookupPath(d, names)
	if errno != 0 {
		return nil, errno
	}
	w.ahead = found[1:]
	return found[0].top(), 0
}

// foundAhead is what name in directory d stands for, if that is known.
func (w *walker) foundAhead(d *Dentry, name string) *Dentry {
	if len(w.ahead) > 0 && w.ahead[0].parent == d && w.ahead[0].name == name {
		return w.ahead[0]
	}
	return nil
}

// search is 0 when the program may look names up in directory d.
func search(d *Dentry) linux.Errno {
	if cred.Has(linux.CAP_DAC_OVERRIDE) {
		return 0
	}
	return d.May(Execute)
}

// components are the names in path.
func components(path string) iter.Seq[string] {
	return strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' })
}
