package files

import (
	"bytes"
	"strings"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

// owned is what the first argument of a call names.
type owned int

const (
	ofPath       owned = iota // a path
	ofLink                    // a path; does not follow a symbolic link
	ofDescriptor              // a descriptor
)

// find returns the object whose attributes the call means; nil if it is not in the
// file system.
func (o owned) find(a *call.Args) (*vfs.Dentry, linux.Errno) {
	switch o {
	case ofPath:
		return target(atCwd, a.A0, 0)
	case ofLink:
		return target(atCwd, a.A0, linux.AT_SYMLINK_NOFOLLOW)
	}
	f, errno := call.File(a.A0)
	if errno != 0 || vfs.IsPath(f) {
		return nil, linux.EBADF
	}
	return vfs.DentryOf(f), 0
}

// named returns the attributes of the object that the call means, and the attribute's
// name, at a.A1. It checks for access want. It checks the name before it looks for the
// object.
func (o owned) named(a *call.Args, want vfs.Access) (vfs.Xattrs, string, linux.Errno) {
	name, errno := call.Path(a.A1)
	switch {
	case errno == linux.ENAMETOOLONG || errno == 0 && (name == "" || len(name) > linux.XATTR_NAME_MAX):
		return nil, "", linux.ERANGE
	case errno != 0:
		return nil, "", errno
	}
	d, errno := o.find(a)
	if errno != 0 {
		return nil, "", errno
	}
	x, errno := xattrsOf(d)
	if errno == 0 {
		errno = mayXattr(d, name, want)
	}
	return x, name, errno
}

// mayXattr checks access to an attribute by the rules of xattr(7).
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

func getxattr(a *call.Args, o owned) (uintptr, linux.Errno) {
	x, name, errno := o.named(a, vfs.Read)
	if errno != 0 {
		return 0, errno
	}
	v, errno := x.Xattr(name)
	if errno != 0 {
		return 0, errno
	}
	return putSized(v, a.A2, a.A3)
}

// putSized stores a value in the caller's buffer. If size is 0, it only returns the
// value's length.
func putSized(v []byte, buf, size uintptr) (uintptr, linux.Errno) {
	if size == 0 {
		return uintptr(len(v)), 0
	}
	if size < uintptr(len(v)) {
		return 0, linux.ERANGE
	}
	out, errno := call.Bytes(buf, uintptr(len(v)))
	return uintptr(copy(out, v)), errno
}

func setxattr(a *call.Args, o owned) (uintptr, linux.Errno) {
	flags, size := uint32(a.A4), a.A3
	if flags&^(linux.XATTR_CREATE|linux.XATTR_REPLACE) != 0 {
		return 0, linux.EINVAL
	}
	x, name, errno := o.named(a, vfs.Write)
	if errno != 0 {
		return 0, errno
	}
	if size > linux.XATTR_SIZE_MAX {
		return 0, linux.E2BIG
	}
	v, errno := call.Bytes(a.A2, size)
	if errno != 0 {
		return 0, errno
	}
	return 0, x.SetXattr(name, bytes.Clone(v), int(flags))
}

func listxattr(a *call.Args, o owned) (uintptr, linux.Errno) {
	d, errno := o.find(a)
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

func removexattr(a *call.Args, o owned) (uintptr, linux.Errno) {
	x, name, errno := o.named(a, vfs.Write)
	if errno != 0 {
		return 0, errno
	}
	return 0, x.RemoveXattr(name)
}
