package vfs

import (
	"iter"
	"strings"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
)

// maxLinks is the number of symbolic links that the resolution of one path may
// follow (path_resolution(7)).
const maxLinks = 40

// Cwd returns the working directory.
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

// Walk resolves path, starting at directory at when path is relative. follow is
// whether to follow a symbolic link in the last component.
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

// walker resolves one path. Its methods are called with the tree locked, unless
// their comments say otherwise.
type walker struct {
	links   int
	resolve Resolve
	base    *Dentry // root for ResolveBeneath and ResolveInRoot

	rest  string    // the path after the component that is being resolved
	ahead []*Dentry // dentries that were already found for the beginning of rest
}

// locked is walk for a caller that has not locked the tree.
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

// last is the last component of a path, and its directory.
type last struct {
	dir   *Dentry
	name  string  // empty for the path "/"
	slash bool    // slashes follow the name
	found *Dentry // dentry of the name, if it is already known
}

// special reports whether the name is empty, "." or "..", which are not entries
// of a directory.
func (l *last) special() bool { return l.name == "" || l.name == "." || l.name == ".." }

// parent resolves all of path except the last component.
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

// step goes from d to name. It crosses mounts and, when follow is set, symbolic
// links.
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

// top returns where an absolute path begins. at is the directory where the path
// was found: that of the symbolic link, or the one passed to openat2(2).
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

// follow returns next, which was found in directory d. When next is a symbolic
// link, follow returns what the link leads to.
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

// target returns the target of a symbolic link, and counts the link.
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

// jump returns what a magic link leads to.
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

// Readlink is readlink(2) of d. It returns EINVAL when d is not a symbolic
// link.
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

// child returns the entry name of directory d. The tree is locked.
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

// child returns the dentry for the name of l.
func (l *last) child() (*Dentry, linux.Errno) {
	if l.found != nil {
		return l.found.top(), 0
	}
	return child(l.dir, l.name)
}

// child is the function child for one component of the path. When the file
// system can look up several names for little more than the cost of one, child
// also looks up the names that follow.
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

// foundAhead returns the dentry of name in directory d if it is already known,
// or nil.
func (w *walker) foundAhead(d *Dentry, name string) *Dentry {
	if len(w.ahead) > 0 && w.ahead[0].parent == d && w.ahead[0].name == name {
		return w.ahead[0]
	}
	return nil
}

// search returns 0 when the program may look up names in directory d.
func search(d *Dentry) linux.Errno {
	if cred.Has(linux.CAP_DAC_OVERRIDE) {
		return 0
	}
	return d.May(Execute)
}

// components returns the names in path.
func components(path string) iter.Seq[string] {
	return strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' })
}
