package vfs

import (
	"sort"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Mount is a mounted file system, with the fields that /proc/self/mountinfo
// shows.
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

// AddMount mounts at path the file system whose root directory make returns.
// Packages call it in init, in any order: the tree is built when it is first
// used. A directory at path is made when the root has none.
func AddMount(source, path, options string, make func() Inode) {
	pending = append(pending, pendingMount{source, path, options, make})
}

// Mounts returns the mounted file systems, in order of mounting.
func Mounts() []Mount {
	Root()
	tree.RLock()
	defer tree.RUnlock()
	return append([]Mount(nil), mounts...)
}

// Root returns the root of the tree.
func Root() *Dentry {
	build.Do(func() {
		sort.Slice(pending, func(i, j int) bool { return len(pending[i].path) < len(pending[j].path) })
		for _, p := range pending {
			p.mount()
		}
		if dir := platform.Config().Dir; dir != "" {
			start(dir)
		}
	})
	return root.Load()
}

// mount puts a file system into the tree.
func (p *pendingMount) mount() {
	inode := p.make()
	top := inode.FS().Top(inode)
	tree.Lock()
	defer tree.Unlock()
	if p.path == "/" {
		root.Store(top)
		cwd.Store(top)
	} else {
		at, errno := makeDir(p.path)
		if errno != 0 {
			fail("mount "+p.source+" at "+p.path, errno)
		}
		top.covers, at.mounted = at, top
	}
	mounts = append(mounts, Mount{p.source, p.path, p.options, inode.FS()})
}

// start makes dir the initial working directory.
func start(dir string) {
	tree.Lock()
	defer tree.Unlock()
	d, errno := makeDir(dir)
	if errno == 0 {
		errno = Chdir(d)
	}
	if errno != 0 {
		fail("start in "+dir, errno)
	}
}

// makeDir returns the directory at path. It makes that directory and its
// parents when they do not exist. The tree is locked.
func makeDir(path string) (*Dentry, linux.Errno) {
	d := root.Load()
	for name := range components(path) {
		var w walker
		next, errno := w.step(d, name, true)
		if errno == linux.ENOENT {
			l := last{dir: d, name: name}
			next, errno = l.make(&NewInode{Mode: linux.S_IFDIR | 0o755})
		}
		if errno != 0 {
			return nil, errno
		}
		d = next.top()
	}
	return d, isDir(d)
}

// fail ends the instance, because a program must not run without a directory
// that it was promised. The user chooses the path, which may lead into a shared
// folder.
func fail(what string, errno linux.Errno) {
	platform.ConsoleWrite(2, []byte("pith: cannot "+what+": "+errno.Name()+"\n"))
	platform.Exit(boot.ExitFailure)
}
