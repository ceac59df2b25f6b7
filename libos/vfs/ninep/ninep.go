// Package ninep is the file system of a 9P2000.L server, such as a shared
// folder. It behaves like Linux's v9fs with cache=none. It implements the
// interfaces of package vfs over a Transport. Package libos/virtio/ninep has
// the Transport of virtual machines, and mounts the file systems.
//
// Every operation is a request that parks the calling goroutine, as a disk
// access blocks a thread. The client caches nothing except the server's numbers
// for objects (fids). Changes by other users of the files are therefore visible
// at once. Path resolution holds the lock of the tree during
// its requests. While a server does not answer, no other path is resolved
// either. Reads and writes of open files continue.
//
// An object is one Inode for as long as something refers to it, whatever its
// names: the server's qid identifies it. The fids of open files are released
// when the files are closed. All other fids are released when the garbage
// collector finds that nothing refers to their object.
//
// The file system does not support extended attributes, fallocate,
// RENAME_EXCHANGE and O_TMPFILE. It does not support shared mappings, which
// need a cache. Locks work between the goroutines of the program but are not
// visible to other users of the files; QEMU's server has no locks either.
//
// The server is not trusted. The client checks sizes, counts and names, and
// returns EIO for a bad reply. It cannot check what the server claims about its
// files.
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

// FS is a file system on a server.
type FS struct {
	*vfs.FileSystem
	c    *client
	root vfs.Inode

	mu    sync.Mutex
	nodes map[wire.ID]weak.Pointer[node]
}

// New starts a session and attaches to the unnamed tree of the server.
func New(t Transport, readOnly bool) (*FS, linux.Errno) {
	s, errno := Connect(t)
	if errno != 0 {
		return nil, errno
	}
	return s.Attach("", readOnly)
}

// Session is a session with a server.
type Session struct{ c *client }

// Connect starts a session.
func Connect(t Transport) (*Session, linux.Errno) {
	c, errno := connect(t)
	return &Session{c}, errno
}

// Attach returns the file system that the server has under name.
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
	// The root lives as long as fs, so it needs no cleanup.
	root := fs.newNode(id)
	root.handle.fid = f
	fs.nodes[id] = weak.Make(root)
	fs.root = root.inode
	return fs, 0
}

// Root returns the root directory.
func (fs *FS) Root() vfs.Inode { return fs.root }

// Mount mounts the file system at path. It must be called before the tree is
// first used.
func (fs *FS) Mount(source, path string) {
	options := "rw,relatime"
	if fs.ReadOnly {
		options = "ro,relatime"
	}
	vfs.AddMount(source, path, options, fs.Root)
}

// usage gets the figures of statfs(2). Without a reply it leaves st as it is.
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

// node is the common part of all objects.
type node struct {
	fs     *FS
	id     wire.ID
	handle *handle
	inode  vfs.Inode // the object that embeds the node

	mu    sync.Mutex
	known linux.Stat // the latest attributes from the server; Mode is 0 before the first reply
	stale bool       // owner or mode have changed since then

	appending sync.Mutex // serialises writes at the end of the file
}

// base returns the node of an inode of this package, or nil.
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

// handle holds the newest fid of a node. A server may know files by their
// names, and an older name may be gone.
type handle struct {
	mu      sync.Mutex
	fid     *fid
	created *openFid // set by directory.Make for the Open that follows
}

func (h *handle) hold() *fid {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fid.hold()
}

// set replaces the fid by f.
func (h *handle) set(f *fid) {
	h.mu.Lock()
	old := h.fid
	h.fid = f
	h.mu.Unlock()
	if old != nil {
		old.drop()
	}
}

// leave stores the open fid of a new file.
func (h *handle) leave(o *openFid) {
	h.mu.Lock()
	h.created, o = o, h.created
	h.mu.Unlock()
	if o != nil {
		o.close()
	}
}

// collect returns and clears what leave stored, or returns nil.
func (h *handle) collect() *openFid {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.created
	h.created = nil
	return o
}

// node returns the inode of the object that f refers to. It takes ownership of
// f.
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

// remains is what forget needs to clean up after a node.
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

// statBy gets the attributes through f. When the server no longer finds the
// object, because its last name is gone, statBy returns the known attributes.
func (n *node) statBy(f *fid, st *linux.Stat) linux.Errno {
	got, errno := n.fs.c.getattr(f, n.id)
	n.mu.Lock()
	defer n.mu.Unlock()
	gone := (errno == linux.ENOENT || errno == linux.ESTALE) && n.known.Mode != 0
	switch {
	case gone:
		n.known.Nlink = 0
		// If the attributes were never read, only the kind is known.
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

// mode returns the server's mode with the file type of the qid.
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

// Stat implements vfs.Inode. When the server does not answer, it returns the
// known attributes.
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

// grew records that the file has data up to end, for when the server no longer
// reports its size.
func (n *node) grew(end int64) {
	n.mu.Lock()
	n.known.Size = max(n.known.Size, end)
	n.mu.Unlock()
}
