package vfs

import (
	"sort"
	"sync"

	"github.com/pith-os/pith/libos/linux"
)

// Mount is a file system at its place in the tree, as /proc/self/mountinfo
// tells it.
type Mount struct {
	Source  string // "proc"
	Path    string // "/proc"
	Options string // "rw,relatime"
	FS      *FileSystem
}

type pendingMount struct {
	source, path, options string
	make                  func() Inode
}

var (
	pending []pendingMount
	mounts  []Mount // guarded by tree
	build   sync.Once
)

// AddMount has the file system whose root directory make returns mounted at
// path. Packages call it in init, in any order; the tree is built at its first
// use. The path is made when the root does not have it.
func AddMount(source, path, options string, make func() Inode) {
	pending = append(pending, pendingMount{source, path, options, make})
}

// Mounts lists what is mounted, in order of mounting.
func Mounts() []Mount {
	Root()
	tree.RLock()
	defer tree.RUnlock()
	return append([]Mount(nil), mounts...)
}

// Root is the root of the tree.
func Root() *Dentry {
	build.Do(func() {
		sort.Slice(pending, func(i, j int) bool { return len(pending[i].path) < len(pending[j].path) })
		for _, p := range pending {
			p.mount()
		}
	})
	return root.Load()
}

// mount puts a file system into its place. A path that cannot be made is a
// mistake of the library OS, not of the program.
func (p *pendingMount) mount() {
	inode := p.make()
	top := inode.FS().Top(inode)
	tree.Lock()
	defer tree.Unlock()
	if p.path == "/" {
		root.Store(top)
		cwd.Store(top)
	} else {
		at := p.mountpoint()
		top.covers, at.mounted = at, top
	}
	mounts = append(mounts, Mount{p.source, p.path, p.options, inode.FS()})
}

func (p *pendingMount) mountpoint() *Dentry {
	d := root.Load()
	for name := range components(p.path) {
		next, errno := child(d, name)
		if errno == linux.ENOENT {
			dir, ok := d.inode.(MutableDir)
			if !ok {
				panic("vfs: no place to mount " + p.path)
			}
			next, errno = dir.Make(d, name, &NewInode{Mode: linux.S_IFDIR | 0o755})
		}
		if errno != 0 {
			panic("vfs: cannot mount " + p.path + ": " + errno.Name())
		}
		d = next.top()
	}
	return d
}
