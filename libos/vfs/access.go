package vfs

import (
	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
)

// Access is a set of wanted permissions: the three bits of one permission
// class.
type Access uint32

// Kinds of access. For a directory, Execute is the permission to search it.
const (
	Execute Access = 1 << iota
	Write
	Read
)

// Guarded is an Inode with an access rule of its own instead of permission
// bits.
type Guarded interface {
	Inode
	// Permits returns 0 when the program may have access, or EACCES.
	Permits(want Access) linux.Errno
}

// May returns 0 when the program may access d's inode, or EACCES
// (path_resolution(7), "Permissions").
func (d *Dentry) May(want Access) linux.Errno { return d.mayAs(cred.Current(), want) }

// MayReally is May for the real user and group, which access(2) checks.
func (d *Dentry) MayReally(want Access) linux.Errno { return d.mayAs(cred.Current().Real(), want) }

func (d *Dentry) mayAs(c *cred.Credentials, want Access) linux.Errno {
	if want == 0 || c.Has(linux.CAP_DAC_OVERRIDE) && want&Execute == 0 {
		return 0
	}
	if g, ok := d.inode.(Guarded); ok {
		return g.Permits(want)
	}
	_, dir := d.inode.(Dir)
	if dir && (c.Has(linux.CAP_DAC_OVERRIDE) || want&Write == 0 && c.Has(linux.CAP_DAC_READ_SEARCH)) {
		return 0
	}
	var st linux.Stat
	if errno := d.Stat(&st); errno != 0 {
		return errno
	}
	class := Access(st.Mode)
	switch {
	case st.UID == c.UID.FS:
		class >>= 6
	case c.InGroup(st.GID):
		class >>= 3
	}
	switch {
	case class&want == want,
		!dir && want == Read && c.Has(linux.CAP_DAC_READ_SEARCH),
		!dir && c.Has(linux.CAP_DAC_OVERRIDE) && st.Mode&0o111 != 0:
		return 0
	}
	return linux.EACCES
}

// mayOpen checks the rules of open(2) for a file that already exists.
func mayOpen(d *Dentry, flags uint32) linux.Errno {
	want := [...]Access{linux.O_RDONLY: Read, linux.O_WRONLY: Write, linux.O_RDWR: Read | Write, linux.O_ACCMODE: Read | Write}[flags&linux.O_ACCMODE]
	if flags&linux.O_TRUNC != 0 {
		want |= Write
	}
	if errno := d.May(want); errno != 0 {
		return errno
	}
	if flags&linux.O_NOATIME != 0 {
		return d.MayAsOwner()
	}
	return 0
}

// MayAsOwner returns 0 when the program has the rights of the file's owner, or
// EPERM.
func (d *Dentry) MayAsOwner() linux.Errno {
	c := cred.Current()
	if c.Has(linux.CAP_FOWNER) {
		return 0
	}
	var st linux.Stat
	if errno := d.Stat(&st); errno != 0 {
		return errno
	}
	if !c.Owns(st.UID) {
		return linux.EPERM
	}
	return 0
}

// MayMark is May for writing user attributes (xattr(7)). In a directory with
// the sticky bit, only the owner may write them.
func (d *Dentry) MayMark() linux.Errno {
	if d.FileType() == linux.S_IFDIR {
		var st linux.Stat
		if errno := d.Stat(&st); errno != 0 {
			return errno
		}
		if st.Mode&linux.S_ISVTX != 0 && !cred.Current().Owns(st.UID) {
			return linux.EPERM
		}
	}
	return d.May(Write)
}

// mayRemove checks the rules for removing the name d from its directory dir. In
// a directory with the sticky bit only an owner may do it (inode(7)).
func mayRemove(dir, d *Dentry) linux.Errno {
	if errno := dir.May(Write | Execute); errno != 0 {
		return errno
	}
	c := cred.Current()
	if c.Has(linux.CAP_FOWNER) {
		return 0
	}
	var in, st linux.Stat
	if errno := dir.Stat(&in); errno != 0 || in.Mode&linux.S_ISVTX == 0 || c.Owns(in.UID) {
		return errno
	}
	if errno := d.Stat(&st); errno != 0 {
		return errno
	}
	if !c.Owns(st.UID) {
		return linux.EPERM
	}
	return 0
}

// mayReuse checks whether O_CREAT may open a file that another user put into a
// directory like /tmp. It never refuses regular files and FIFOs, which matches
// fs.protected_regular and fs.protected_fifos at 0, the kernel's defaults
// (proc_sys_fs(5)).
func mayReuse(dir, d *Dentry) linux.Errno {
	switch d.FileType() {
	case linux.S_IFREG, linux.S_IFIFO, linux.S_IFDIR:
		return 0
	}
	var in, st linux.Stat
	if errno := dir.Stat(&in); errno != 0 {
		return errno
	}
	const shared = linux.S_ISVTX | 0o002
	if in.Mode&shared != shared {
		return 0
	}
	if errno := d.Stat(&st); errno != 0 {
		return errno
	}
	if st.UID != in.UID && st.UID != cred.Current().UID.FS {
		return linux.EACCES
	}
	return 0
}

// mayLink refuses hard links to files that the program could not use, as Linux
// does with fs.protected_hardlinks (proc_sys_fs(5)).
func mayLink(d *Dentry) linux.Errno {
	c := cred.Current()
	if c.Has(linux.CAP_FOWNER) {
		return 0
	}
	var st linux.Stat
	if errno := d.Stat(&st); errno != 0 || c.Owns(st.UID) {
		return errno
	}
	const setGroup = linux.S_ISGID | 0o010
	if st.Mode&linux.S_IFMT != linux.S_IFREG || st.Mode&linux.S_ISUID != 0 || st.Mode&setGroup == setGroup ||
		d.May(Read|Write) != 0 {
		return linux.EPERM
	}
	return 0
}

// SetAttr is the common part of chmod(2), chown(2), utimensat(2) and
// truncate(2). It checks permissions and then changes the attributes.
func (d *Dentry) SetAttr(a *Attr) linux.Errno {
	if errno := d.maySet(a); errno != 0 {
		return errno
	}
	return d.inode.SetAttr(a)
}

func (d *Dentry) maySet(a *Attr) linux.Errno {
	c := cred.Current()
	if c.Effective == cred.All {
		return 0
	}
	var st linux.Stat
	if errno := d.Stat(&st); errno != 0 {
		return errno
	}
	mine := st.UID == c.UID.FS
	// chown(2) clears the set-ID bits of such a file, so it counts as a chmod(2),
	// too.
	lends := st.Mode&linux.S_ISUID != 0 ||
		st.Mode&linux.S_ISGID != 0 && (st.Mode&0o010 != 0 || !c.InGroup(st.GID) && !c.Has(linux.CAP_FSETID))
	chmod := a.Valid&AttrMode != 0 || a.Valid&AttrChown != 0 && lends && st.Mode&linux.S_IFMT != linux.S_IFDIR
	switch {
	case a.Valid&AttrSize != 0:
		if errno := d.May(Write); errno != 0 {
			return errno
		}
	case a.Valid&AttrTouch != 0 && !c.Owns(st.UID):
		return d.May(Write)
	case (chmod || a.Valid&(AttrAtime|AttrMtime) != 0) && !c.Owns(st.UID):
		return linux.EPERM
	case c.Has(linux.CAP_CHOWN):
	case a.Valid&AttrUID != 0 && !(mine && a.UID == st.UID),
		a.Valid&AttrGID != 0 && !(mine && (a.GID == st.GID || c.InGroup(a.GID))):
		return linux.EPERM
	}
	if a.Valid&AttrMode != 0 && !c.InGroup(st.GID) && !c.Has(linux.CAP_FSETID) {
		a.Mode &^= linux.S_ISGID
	}
	return 0
}
