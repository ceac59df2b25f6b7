package ninep

import (
	"math"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// The requests of 9P2000.L (diod's protocol.md, and Linux's net/9p/client.c),
// one function each.

// attach is the root of the tree that the server has by the name given; a device
// has one without a name.
func (c *client) attach(tree string) (*fid, wire.ID, linux.Errno) {
	f := c.fids.take()
	x := c.begin(wire.Tattach)
	defer c.end(x)
	x.u32(f.num)
	x.u32(wire.NoFid)
	x.str("") // the user's name; the number counts
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

// walk is a new fid for name in directory from.
func (c *client) walk(from *fid, name string) (*fid, wire.ID, linux.Errno) {
	f, ids, errno := c.walkPath(from, name)
	if errno != 0 {
		return nil, wire.ID{}, errno
	}
	return f, ids[0], 0
}

// walkPath is a new fid for what names lead to, each in what the one before it
// leads to, and what all of them are. When not all are there, but the first is,
// there is no fid, and fewer ids than names.
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

// clone is a second fid for what from stands for.
func (c *client) clone(from *fid) (*fid, linux.Errno) {
	f, _, errno := c.walkPath(from)
	return f, errno
}

// abandon gives up a fid that the server refused to make. When what it said is
// unintelligible it may have made it.
func (f *fid) abandon(errno linux.Errno) {
	if errno == linux.EIO {
		f.drop()
	} else {
		f.unused()
	}
}

// lopen opens the object of f for reading or writing, and returns how much data
// the server wants in one request.
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

// lcreate makes a regular file in the directory of f, which becomes the open
// file's.
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

// readData reads at most what one message carries.
func (c *client) readData(typ uint8, f *fid, p []byte, off int64) (int, linux.Errno) {
	x := c.begin(typ)
	defer c.end(x)
	x.u32(f.num)
	x.u64(uint64(off))
	x.u32(uint32(len(p)))
	return x.read(p)
}

// writeData writes at most what one message carries.
func (c *client) writeData(f *fid, p []byte, off int64) (int, linux.Errno) {
	x := c.begin(wire.Twrite)
	defer c.end(x)
	x.u32(f.num)
	x.u64(uint64(off))
	x.u32(uint32(len(p)))
	return x.write(p)
}

// getattr is stat(2), without what the server cannot know. ESTALE: a server that
// knows files by their names has another one there now.
func (c *client) getattr(f *fid, id wire.ID) (st linux.Stat, errno linux.Errno) {
	x := c.begin(wire.Tgetattr)
	defer c.end(x)
	x.u32(f.num)
	x.u64(wire.GetBasic)
	r, errno := x.call()
	if errno != 0 {
		return st, errno
	}
	r.U64() // which fields are valid: all of struct stat's always are
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
	// Programs make buffers of this size.
	st.Blksize = min(max(st.Blksize, 512), int64(c.maxData))
	return st, r.Errno()
}

// setattr is chmod, chown, truncate and utimensat. The bits of Tsetattr have
// the order of vfs.AttrMask's.
func (c *client) setattr(f *fid, a *vfs.Attr) linux.Errno {
	const same = vfs.AttrMode | vfs.AttrUID | vfs.AttrGID | vfs.AttrSize | vfs.AttrAtime | vfs.AttrMtime
	valid := uint32(a.Valid & same)
	if a.Valid&vfs.AttrChown != 0 {
		valid |= wire.SetCtime // all of chown(-1, -1)
	}
	if a.Valid&vfs.AttrAtime != 0 {
		valid |= wire.SetAtimeTo
	}
	switch {
	case a.Valid&vfs.AttrMtime != 0:
		valid |= wire.SetMtimeTo
	case a.Valid&vfs.AttrSize != 0:
		// ftruncate(2) and O_TRUNC are changes even when the size stays.
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

// mknod makes what n says; Rdev is as the system call has it, 12 bits of the
// major number and 20 of the minor one (linux/kdev_t.h, new_decode_dev).
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
	x.u32(0) // not the data alone
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
	r.U32() // the type of what the server has its files in
	st.Bsize = int64(r.U32())
	st.Blocks, st.Bfree, st.Bavail = r.U64(), r.U64(), r.U64()
	st.Files, st.Ffree = r.U64(), r.U64()
	r.U64() // fsid
	st.Namelen = int64(min(r.U32(), math.MaxInt16))
	return st, r.Errno()
}
