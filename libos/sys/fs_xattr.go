package sys

import (
	"bytes"
	"strings"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

// finder finds whose attributes a call means; nil for what is not in the file
// system.
type finder func(a *Args) (*vfs.Dentry, linux.Errno)

func registerXattr() {
	for _, v := range []struct {
		find                   finder
		get, set, list, remove int
	}{
		{xattrsAt(0), linux.SYS_GETXATTR, linux.SYS_SETXATTR, linux.SYS_LISTXATTR, linux.SYS_REMOVEXATTR},
		{xattrsAt(linux.AT_SYMLINK_NOFOLLOW), linux.SYS_LGETXATTR, linux.SYS_LSETXATTR, linux.SYS_LLISTXATTR, linux.SYS_LREMOVEXATTR},
		{xattrsOfFile, linux.SYS_FGETXATTR, linux.SYS_FSETXATTR, linux.SYS_FLISTXATTR, linux.SYS_FREMOVEXATTR},
	} {
		Register(v.get, v.find.named(vfs.Read, getxattr))
		Register(v.set, v.find.setxattr)
		Register(v.list, v.find.listxattr)
		Register(v.remove, v.find.named(vfs.Write, removexattr))
	}
}

func xattrsAt(flags uintptr) finder {
	return func(a *Args) (*vfs.Dentry, linux.Errno) { return target(atCwd, a.A0, flags) }
}

func xattrsOfFile(a *Args) (*vfs.Dentry, linux.Errno) {
	f, errno := opened(a.A0)
	if errno != 0 || vfs.IsPath(f) {
		return nil, linux.EBADF
	}
	return vfs.DentryOf(f), 0
}

// named makes a handler of h, which wants access to the attribute with the name
// at a.A1. The name is checked before the file is looked for.
func (find finder) named(want vfs.Access, h func(x vfs.Xattrs, name string, a *Args) (uintptr, linux.Errno)) Handler {
	return func(a *Args) (uintptr, linux.Errno) {
		name, errno := Path(a.A1)
		switch {
		case errno == linux.ENAMETOOLONG || errno == 0 && (name == "" || len(name) > linux.XATTR_NAME_MAX):
			return 0, linux.ERANGE
		case errno != 0:
			return 0, errno
		}
		d, errno := find(NoEscape(a))
		if errno != 0 {
			return 0, errno
		}
		x, errno := xattrsOf(d)
		if errno == 0 {
			errno = mayXattr(d, name, want)
		}
		if errno != 0 {
			return 0, errno
		}
		return h(x, name, NoEscape(a))
	}
}

// mayXattr has the rules of xattr(7) for who may have access to an attribute.
func mayXattr(d *vfs.Dentry, name string, want vfs.Access) linux.Errno {
	class, _, _ := strings.Cut(name, ".")
	switch {
	case class == "trusted" && !cred.Has(linux.CAP_SYS_ADMIN):
		if want == vfs.Read {
			return linux.ENODATA
		}
		return linux.EPERM
	case class == "security" && want == vfs.Write && !cred.Has(linux.CAP_SYS_ADMIN):
		return linux.EPERM
	case class == "security", class == "system":
		return 0
	case class == "user" && want == vfs.Write:
		return d.MayMark()
	}
	return d.May(want)
}

func xattrsOf(d *vfs.Dentry) (vfs.Xattrs, linux.Errno) {
	if d != nil {
		if x, ok := d.Inode().(vfs.Xattrs); ok {
			return x, 0
		}
	}
	return nil, linux.EOPNOTSUPP
}

func getxattr(x vfs.Xattrs, name string, a *Args) (uintptr, linux.Errno) {
	v, errno := x.Xattr(name)
	if errno != 0 {
		return 0, errno
	}
	return putSized(v, a.A2, a.A3)
}

// putSized gives the caller a value, or its size when he has no room yet.
func putSized(v []byte, buf, size uintptr) (uintptr, linux.Errno) {
	if size == 0 {
		return uintptr(len(v)), 0
	}
	if size < uintptr(len(v)) {
		return 0, linux.ERANGE
	}
	out, errno := Bytes(buf, uintptr(len(v)))
	return uintptr(copy(out, v)), errno
}

func (find finder) setxattr(a *Args) (uintptr, linux.Errno) {
	flags, size := uint32(a.A4), a.A3
	if flags&^(linux.XATTR_CREATE|linux.XATTR_REPLACE) != 0 {
		return 0, linux.EINVAL
	}
	return find.named(vfs.Write, func(x vfs.Xattrs, name string, a *Args) (uintptr, linux.Errno) {
		if size > linux.XATTR_SIZE_MAX {
			return 0, linux.E2BIG
		}
		v, errno := Bytes(a.A2, size)
		if errno != 0 {
			return 0, errno
		}
		return 0, x.SetXattr(name, bytes.Clone(v), int(flags))
	})(NoEscape(a))
}

func (find finder) listxattr(a *Args) (uintptr, linux.Errno) {
	d, errno := find(NoEscape(a))
	if errno != 0 {
		return 0, errno
	}
	x, errno := xattrsOf(d)
	if errno != 0 {
		return 0, errno
	}
	var all []byte
	for _, name := range x.ListXattrs() {
		if strings.HasPrefix(name, "trusted.") && !cred.Has(linux.CAP_SYS_ADMIN) {
			continue
		}
		all = append(append(all, name...), 0)
	}
	return putSized(all, a.A1, a.A2)
}

func removexattr(x vfs.Xattrs, name string, _ *Args) (uintptr, linux.Errno) {
	return 0, x.RemoveXattr(name)
}
