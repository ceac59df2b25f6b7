package ninep

import (
	"math"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// The requests of 9P2000.L, one function each (diod's protocol.md, and Linux's
// net/9p/client.c).

// attach returns a fid for the root of the server's tree of that name. The tree
// of a virtio device has no name.
func (c *client) attach(tree string) (*fid, wire.ID, linux.Errno) {
	f := c.fids.take()
	x := c.begin(wire.Tattach)
	defer c.end(x)
	x.u32(f.num)
	x.u32(wire.NoFid)
	x.str("") // the user's name; servers use the number that follows
	x.str(tree)
	x.u32(0)
	r, errno := x.call()
	if errno != 0 {
		f.unused()
		return nil, wire.ID{}, errno
	}
	id := r.ID()
	if r.Bad {
		f.drop()
	}
	return f, id, r.Errno()
}

// walk returns a new fid for name in directory from.
func (c *client) walk(from *fid, name string) (*fid, wire.ID, linux.Errno) {
	f, ids, errno := c.walkPath(from, name)
	if errno != 0 {
		return nil, wire.ID{}, errno
	}
	return f, ids[0], 0
}

// walkPath walks from directory from along names. It returns a new fid for the
// last one and the ids of all. When the first name exists but a later one does
// not, it returns no fid, fewer ids than names, and no error.
func (c *client) walkPath(from *fid, names ...string) (*fid, []wire.ID, linux.Errno) {
	f := c.fids.take()
	x := c.begin(wire.Twalk)
	defer c.end(x)
	x.u32(from.num)
	x.u32(f.num)
	x.u16(uint16(len(names)))
	for _, name := range names {
		x.str(name)
	}
	r, errno := x.call()
	if errno != 0 {
		f.abandon(errno)
		return nil, nil, errno
	}
	n := int(r.U16())
	if n > len(names) || n == 0 && len(names) > 0 {
		f.drop()
		return nil, nil, linux.EIO
	}
	ids := make([]wire.ID, n)
	for i := range ids {
		ids[i] = r.ID()
	}
	switch {
	case r.Bad:
		f.drop()
		return nil, nil, linux.EIO
	case n < len(names):
		f.unused()
		return nil, ids, 0
	}
	return f, ids, 0
}

// clone returns a second fid for the object of from.
func (c *client) clone(from *fid) (*fid, linux.Errno) {
	f, _, errno := c.walkPath(from)
	return f, errno
}

// abandon frees a fid after a failed Twalk. If the reply was malformed (EIO),
// the server may have made the fid, so it must be clunked.
func (f *fid) abandon(errno linux.Errno) {
	if errno == linux.EIO {
		f.drop()
	} else {
		f.unused()
	}
}

// lopen opens the object of f. It returns the largest amount of data, in bytes,
// that the server accepts in one request.
func (c *client) lopen(f *fid, flags uint32) (int, linux.Errno) {
	x := c.begin(wire.Tlopen)
	defer c.end(x)
	x.u32(f.num)
	x.u32(flags)
	r, errno := x.call()
	if errno != 0 {
		return 0, errno
	}
	return c.opened(&r)
}

// lcreate makes a regular file in the directory of f. f then stands for the
// open file.
func (c *client) lcreate(f *fid, name string, flags, mode, gid uint32) (int, linux.Errno) {
	x := c.begin(wire.Tlcreate)
	defer c.end(x)
	x.u32(f.num)
	x.str(name)
	x.u32(flags)
	x.u32(mode)
	x.u32(gid)
	r, errno := x.call()
	if errno != 0 {
		return 0, errno
	}
	return c.opened(&r)
}

func (c *client) opened(r *wire.Reader) (int, linux.Errno) {
	r.ID()
	unit := r.U32()
	if unit == 0 || int64(unit) > int64(c.maxData) {
		return c.maxData, r.Errno()
	}
	return int(unit), r.Errno()
}

// readData reads at most the data of one message.
func (c *client) readData(typ uint8, f *fid, p []byte, off int64) (int, linux.Errno) {
	x := c.begin(typ)
	defer c.end(x)
	x.u32(f.num)
	x.u64(uint64(off))
	x.u32(uint32(len(p)))
	return x.read(p)
}

// writeData writes at most the data of one message.
func (c *client) writeData(f *fid, p []byte, off int64) (int, linux.Errno) {
	x := c.begin(wire.Twrite)
	defer c.end(x)
	x.u32(f.num)
	x.u64(uint64(off))
	x.u32(uint32(len(p)))
	return x.write(p)
}

// getattr is stat(2), without the fields that the server cannot know. It
// returns ESTALE when the fid now refers to another object, as on a server that
// knows files by their names.
func (c *client) getattr(f *fid, id wire.ID) (st linux.Stat, errno linux.Errno) {
	x := c.begin(wire.Tgetattr)
	defer c.end(x)
	x.u32(f.num)
	x.u64(wire.GetBasic)
	r, errno := x.call()
	if errno != 0 {
		return st, errno
	}
	r.U64() // which fields are valid; those of struct stat always are
	if now := r.ID(); !r.Bad && now != id {
		return st, linux.ESTALE
	}
	st.Mode, st.UID, st.GID = r.U32(), r.U32(), r.U32()
	st.Nlink, st.Rdev = r.U64(), r.U64()
	st.Size = int64(r.U64())
	st.Blksize = int64(r.U64())
	st.Blocks = int64(r.U64())
	st.Atim, st.Mtim, st.Ctim = r.Time(), r.Time(), r.Time()
	if st.Size < 0 || st.Blocks < 0 || st.Blksize < 0 {
		r.Bad = true
	}
	// Programs allocate buffers of this size.
	st.Blksize = min(max(st.Blksize, 512), int64(c.maxData))
	return st, r.Errno()
}

// setattr is chmod, chown, truncate and utimensat. The bits of Tsetattr have
// the order of those of vfs.AttrMask.
func (c *client) setattr(f *fid, a *vfs.Attr) linux.Errno {
	const same = vfs.AttrMode | vfs.AttrUID | vfs.AttrGID | vfs.AttrSize | vfs.AttrAtime | vfs.AttrMtime
	valid := uint32(a.Valid & same)
	if a.Valid&vfs.AttrChown != 0 {
		valid |= wire.SetCtime // the only effect of chown(-1, -1)
	}
	if a.Valid&vfs.AttrAtime != 0 {
		valid |= wire.SetAtimeTo
	}
	switch {
	case a.Valid&vfs.AttrMtime != 0:
		valid |= wire.SetMtimeTo
	case a.Valid&vfs.AttrSize != 0:
		// ftruncate(2) and O_TRUNC set the time even when the size stays.
		valid |= uint32(vfs.AttrMtime)
	}
	x := c.begin(wire.Tsetattr)
	defer c.end(x)
	x.u32(f.num)
	x.u32(valid)
	x.u32(a.Mode)
	x.u32(a.UID)
	x.u32(a.GID)
	x.u64(uint64(a.Size))
	x.time(a.Atime)
	x.time(a.Mtime)
	_, errno := x.call()
	return errno
}

func (c *client) readlink(f *fid) (string, linux.Errno) {
	x := c.begin(wire.Treadlink)
	defer c.end(x)
	x.u32(f.num)
	r, errno := x.call()
	if errno != 0 {
		return "", errno
	}
	target := r.Str()
	if len(target) == 0 || len(target) >= wire.PathMax {
		r.Bad = true
	}
	return string(target), r.Errno()
}

func (c *client) symlink(dir *fid, name, target string, gid uint32) linux.Errno {
	x := c.begin(wire.Tsymlink)
	defer c.end(x)
	x.u32(dir.num)
	x.str(name)
	x.str(target)
	x.u32(gid)
	_, errno := x.call()
	return errno
}

func (c *client) mkdir(dir *fid, name string, mode, gid uint32) linux.Errno {
	x := c.begin(wire.Tmkdir)
	defer c.end(x)
	x.u32(dir.num)
	x.str(name)
	x.u32(mode)
	x.u32(gid)
	_, errno := x.call()
	return errno
}

// mknod makes the object that n describes. Rdev has the system call's format:
// 12 bits of major and 20 bits of minor number (linux/kdev_t.h,
// new_decode_dev).
func (c *client) mknod(dir *fid, name string, n *vfs.NewInode, gid uint32) linux.Errno {
	dev := uint32(n.Rdev)
	x := c.begin(wire.Tmknod)
	defer c.end(x)
	x.u32(dir.num)
	x.str(name)
	x.u32(n.Mode)
	x.u32(dev >> 8 & 0xfff)
	x.u32(dev&0xff | dev>>12&0xfff00)
	x.u32(gid)
	_, errno := x.call()
	return errno
}

func (c *client) link(dir, target *fid, name string) linux.Errno {
	x := c.begin(wire.Tlink)
	defer c.end(x)
	x.u32(dir.num)
	x.u32(target.num)
	x.str(name)
	_, errno := x.call()
	return errno
}

func (c *client) renameat(from *fid, old string, to *fid, name string) linux.Errno {
	x := c.begin(wire.Trenameat)
	defer c.end(x)
	x.u32(from.num)
	x.str(old)
	x.u32(to.num)
	x.str(name)
	_, errno := x.call()
	return errno
}

func (c *client) unlinkat(dir *fid, name string, flags uint32) linux.Errno {
	x := c.begin(wire.Tunlinkat)
	defer c.end(x)
	x.u32(dir.num)
	x.str(name)
	x.u32(flags)
	_, errno := x.call()
	return errno
}

func (c *client) fsync(f *fid) linux.Errno {
	x := c.begin(wire.Tfsync)
	defer c.end(x)
	x.u32(f.num)
	x.u32(0) // datasync: also write metadata
	_, errno := x.call()
	return errno
}

func (c *client) statfs(f *fid) (st linux.Statfs, errno linux.Errno) {
	x := c.begin(wire.Tstatfs)
	defer c.end(x)
	x.u32(f.num)
	r, errno := x.call()
	if errno != 0 {
		return st, errno
	}
	r.U32() // type of the server's file system
	st.Bsize = int64(r.U32())
	st.Blocks, st.Bfree, st.Bavail = r.U64(), r.U64(), r.U64()
	st.Files, st.Ffree = r.U64(), r.U64()
	r.U64() // fsid
	st.Namelen = int64(min(r.U32(), math.MaxInt16))
	return st, r.Errno()
}
