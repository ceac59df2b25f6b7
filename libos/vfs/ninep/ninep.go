// Package ninep is a file system that a 9P2000.L server has, such as a folder
// of the host: what Linux's v9fs is with cache=none. It implements the
// interfaces of package vfs over a Transport; package libos/virtio/ninep has
// the one of virtual machines, and mounts.
//
// Every operation is a request, for which the calling goroutine is parked, as
// a thread is by a disk; nothing is kept but the numbers (fids) by which the
// server knows objects. What others do to the files is so seen at once. A path
// is walked with the lock of the tree held: while a server does not answer, no
// other path is resolved either. Reads and writes of open files go on.
//
// An object is one Inode as long as anything refers to it, whatever names it
// has: the server's qid tells. The garbage collector finds those that nothing
// refers to, and their fids are given back then; those of open files are when
// they are closed.
//
// Not there: extended attributes, fallocate, RENAME_EXCHANGE, O_TMPFILE and
// shared mappings, which need a cache. Locks hold between the goroutines of
// the program, not for other users of the files; QEMU's server has none either.
//
// The server is not trusted: sizes, counts and names are checked, and what does
// not fit is EIO. It can of course say of its files what it wants.
package ninep

import (
	"runtime"
	"sync"
	"weak"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// FS is a file system of a server.
type FS struct {
	*vfs.FileSystem
	c    *client
	root vfs.Inode

	mu    sync.Mutex
	nodes map[wire.ID]weak.Pointer[node]
}

// New begins a session and attaches to the root of what the server offers.
func New(t Transport, readOnly bool) (*FS, linux.Errno) {
	s, errno := Connect(t)
	if errno != 0 {
		return nil, errno
	}
	return s.Attach("", readOnly)
}

// Session is a session with a server.
type Session struct{ c *client }

// Connect begins a session.
func Connect(t Transport) (*Session, linux.Errno) {
	c, errno := connect(t)
	return &Session{c}, errno
}

// Attach is the file system that the server has by the name given.
func (s *Session) Attach(name string, readOnly bool) (*FS, linux.Errno) {
	c := s.c
	f, id, errno := c.attach(name)
	if errno != 0 {
		return nil, errno
	}
	if id.Kind != wire.KindDir {
		return nil, linux.ENOTDIR
	}
	fs := &FS{FileSystem: vfs.NewFileSystem("9p", linux.V9FS_MAGIC), c: c, nodes: map[wire.ID]weak.Pointer[node]{}}
	fs.ReadOnly = readOnly
	fs.Usage = fs.usage
	// There is nothing to tidy up after the root, which stays as long as fs.
	root := fs.newNode(id)
	root.handle.fid = f
	fs.nodes[id] = weak.Make(root)
	fs.root = root.inode
	return fs, 0
}

// Root is the root directory.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Mount has the file system mounted at path, before the tree is first used.
func (fs *FS) Mount(source, path string) {
	options := "rw,relatime"
	if fs.ReadOnly {
		options = "ro,relatime"
	}
	vfs.AddMount(source, path, options, fs.Root)
}

// usage asks for the figures of statfs(2); without an answer there are none.
func (fs *FS) usage(st *linux.Statfs) {
	root := base(fs.root).handle.hold()
	defer root.drop()
	if v, errno := fs.c.statfs(root); errno == 0 {
		st.Bsize, st.Frsize = v.Bsize, v.Bsize
		st.Blocks, st.Bfree, st.Bavail = v.Blocks, v.Bfree, v.Bavail
		st.Files, st.Ffree = v.Files, v.Ffree
		st.Namelen = v.Namelen
	}
}

// node has what all objects have.
type node struct {
	fs     *FS
	id     wire.ID
	handle *handle
	inode  vfs.Inode // what the node is part of

	mu    sync.Mutex
	known linux.Stat // last told by the server; Mode is 0 before the first time
	stale bool       // owner or mode have changed since

	appending sync.Mutex // writes at the end of a file take turns
}

// base is the node of an inode of this package.
func base(i vfs.Inode) *node {
	switch i := i.(type) {
	case *directory:
		return &i.node
	case *symlink:
		return &i.node
	case *regular:
		return &i.node
	}
	return nil
}

// handle is the fid of a node: always the newest, as a server may know files by
// their names, and the older name may be gone.
type handle struct {
	mu      sync.Mutex
	fid     *fid
	created *openFid // what directory.Make leaves for the Open that follows it
}

func (h *handle) hold() *fid {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fid.hold()
}

// set takes over f.
func (h *handle) set(f *fid) {
	h.mu.Lock()
	old := h.fid
	h.fid = f
	h.mu.Unlock()
	if old != nil {
		old.drop()
	}
}

// leave keeps what a file was created with.
func (h *handle) leave(o *openFid) {
	h.mu.Lock()
	h.created, o = o, h.created
	h.mu.Unlock()
	if o != nil {
		o.close()
	}
}

// collect is what was left, or nil.
func (h *handle) collect() *openFid {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.created
	h.created = nil
	return o
}

// node is the inode of the object that f stands for, which it takes over.
func (fs *FS) node(f *fid, id wire.ID) vfs.Inode {
	fs.mu.Lock()
	if n := fs.nodes[id].Value(); n != nil {
		fs.mu.Unlock()
		n.handle.set(f)
		return n.inode
	}
	n := fs.newNode(id)
	n.handle.fid = f
	fs.nodes[id] = weak.Make(n)
	fs.mu.Unlock()
	runtime.AddCleanup(n, forget, remains{fs, id, n.handle})
	return n.inode
}

func (fs *FS) newNode(id wire.ID) *node {
	var n *node
	switch id.Kind {
	case wire.KindDir:
		d := &directory{names: map[string]weak.Pointer[vfs.Dentry]{}}
		n, d.inode = &d.node, d
	case wire.KindSymlink:
		s := new(symlink)
		n, s.inode = &s.node, s
	default:
		r := new(regular)
		n, r.inode = &r.node, r
	}
	n.fs, n.id, n.handle = fs, id, new(handle)
	return n
}

// remains is what is to be tidied up after a node.
type remains struct {
	fs     *FS
	id     wire.ID
	handle *handle
}

func forget(r remains) {
	r.fs.mu.Lock()
	if p, ok := r.fs.nodes[r.id]; ok && p.Value() == nil {
		delete(r.fs.nodes, r.id)
	}
	r.fs.mu.Unlock()
	r.handle.fid.drop()
	if o := r.handle.collect(); o != nil {
		o.drop()
	}
}

// FS implements vfs.Inode.
func (n *node) FS() *vfs.FileSystem { return n.fs.FileSystem }

// TryStat implements vfs.Remote.
func (n *node) TryStat(st *linux.Stat) linux.Errno {
	f := n.handle.hold()
	defer f.drop()
	return n.statBy(f, st)
}

// statBy asks for the attributes by f. An object that the server does not find
// any more, because its last name is gone, has those that it had.
func (n *node) statBy(f *fid, st *linux.Stat) linux.Errno {
	got, errno := n.fs.c.getattr(f, n.id)
	n.mu.Lock()
	defer n.mu.Unlock()
	gone := (errno == linux.ENOENT || errno == linux.ESTALE) && n.known.Mode != 0
	switch {
	case gone:
		n.known.Nlink = 0
		// All that is known of one that was never asked for is its kind.
		n.known.Dev, n.known.Ino = n.fs.Dev(), n.id.Path
		n.known.Blksize = max(n.known.Blksize, platform.PageSize)
	case errno != 0:
		return errno
	default:
		got.Mode = n.mode(got.Mode)
		got.Dev, got.Ino = n.fs.Dev(), n.id.Path
		n.known, n.stale = got, false
	}
	*st = n.known
	return 0
}

// mode is what the server says, with the type that the qid had.
func (n *node) mode(mode uint32) uint32 {
	typ := mode & linux.S_IFMT
	switch n.id.Kind {
	case wire.KindDir:
		typ = linux.S_IFDIR
	case wire.KindSymlink:
		typ = linux.S_IFLNK
	default:
		switch typ {
		case linux.S_IFIFO, linux.S_IFSOCK, linux.S_IFCHR, linux.S_IFBLK:
		default:
			typ = linux.S_IFREG
		}
	}
	return typ | mode&0o7777
}

// Stat implements vfs.Inode: when the server does not answer, with what was
// last known.
func (n *node) Stat(st *linux.Stat) {
	if n.TryStat(st) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	*st = n.known
	st.Dev, st.Ino, st.Mode = n.fs.Dev(), n.id.Path, n.mode(st.Mode)
}

// FileType implements vfs.Remote.
func (n *node) FileType() uint32 {
	n.mu.Lock()
	mode := n.known.Mode
	n.mu.Unlock()
	if mode == 0 {
		var st linux.Stat
		n.Stat(&st)
		mode = st.Mode
	}
	return mode & linux.S_IFMT
}

// SetAttr implements vfs.Inode.
func (n *node) SetAttr(a *vfs.Attr) linux.Errno {
	f := n.handle.hold()
	defer f.drop()
	return n.setAttrBy(f, a)
}

func (n *node) setAttrBy(f *fid, a *vfs.Attr) linux.Errno {
	if n.fs.ReadOnly {
		return linux.EROFS
	}
	if errno := n.fs.c.setattr(f, a); errno != 0 {
		return errno
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.Valid&vfs.AttrSize != 0 {
		n.known.Size = a.Size
	}
	n.stale = true
	return 0
}

// grew notes that the file has data up to end, for when the server does not
// tell any more.
func (n *node) grew(end int64) {
	n.mu.Lock()
	n.known.Size = max(n.known.Size, end)
	n.mu.Unlock()
}
