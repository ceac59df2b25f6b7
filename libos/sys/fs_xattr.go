package sys

import (
	"bytes"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
)

func init() {
	byPath := func(follow uintptr) func(a *Args) (vfs.Xattrs, linux.Errno) {
		return func(a *Args) (vfs.Xattrs, linux.Errno) {
			d, errno := target(atCwd, a[0], follow)
			if errno != 0 {
				return nil, errno
			}
			return xattrsOf(d)
		}
	}
	byFile := func(a *Args) (vfs.Xattrs, linux.Errno) {
		f, errno := opened(a[0])
		if errno != 0 || vfs.IsPath(f) {
			return nil, linux.EBADF
		}
		return xattrsOf(vfs.DentryOf(f))
	}
	for _, v := range []struct {
		find                   func(a *Args) (vfs.Xattrs, linux.Errno)
		get, set, list, remove int
	}{
		{byPath(0), linux.SYS_GETXATTR, linux.SYS_SETXATTR, linux.SYS_LISTXATTR, linux.SYS_REMOVEXATTR},
		{byPath(linux.AT_SYMLINK_NOFOLLOW), linux.SYS_LGETXATTR, linux.SYS_LSETXATTR, linux.SYS_LLISTXATTR, linux.SYS_LREMOVEXATTR},
		{byFile, linux.SYS_FGETXATTR, linux.SYS_FSETXATTR, linux.SYS_FLISTXATTR, linux.SYS_FREMOVEXATTR},
	} {
		with := func(h func(x vfs.Xattrs, a *Args) (uintptr, linux.Errno)) Handler {
			return func(a *Args) (uintptr, linux.Errno) {
				x, errno := v.find(a)
				if errno != 0 {
					return 0, errno
				}
				return h(x, a)
			}
		}
		Register(v.get, with(getxattr))
		Register(v.set, with(setxattr))
		Register(v.list, with(listxattr))
		Register(v.remove, with(removexattr))
	}
}

func xattrsOf(d *vfs.Dentry) (vfs.Xattrs, linux.Errno) {
	if d != nil {
		if x, ok := d.Inode().(vfs.Xattrs); ok {
			return x, 0
		}
	}
	return nil, linux.EOPNOTSUPP
}

func getxattr(x vfs.Xattrs, a *Args) (uintptr, linux.Errno) {
	name, errno := Path(a[1])
	if errno != 0 {
		return 0, errno
	}
	v, errno := x.Xattr(name)
	if errno != 0 {
		return 0, errno
	}
	return putSized(v, a[2], a[3])
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

func setxattr(x vfs.Xattrs, a *Args) (uintptr, linux.Errno) {
	name, errno := Path(a[1])
	if errno != 0 {
		return 0, errno
	}
	if a[3] > linux.XATTR_SIZE_MAX {
		return 0, linux.E2BIG
	}
	v, errno := Bytes(a[2], a[3])
	if errno != 0 {
		return 0, errno
	}
	return 0, x.SetXattr(name, bytes.Clone(v), int(int32(a[4])))
}

func listxattr(x vfs.Xattrs, a *Args) (uintptr, linux.Errno) {
	var all []byte
	for _, name := range x.ListXattrs() {
		all = append(append(all, name...), 0)
	}
	return putSized(all, a[1], a[2])
}

func removexattr(x vfs.Xattrs, a *Args) (uintptr, linux.Errno) {
	name, errno := Path(a[1])
	if errno != 0 {
		return 0, errno
	}
	return 0, x.RemoveXattr(name)
}
