package files

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

// atCwd is AT_FDCWD as an argument.
const atCwd = ^uintptr(-(linux.AT_FDCWD + 1))

// place returns the path at addr and the directory where its lookup begins.
func place(dirfd, addr uintptr) (*vfs.Dentry, string, linux.Errno) {
	path, errno := call.Path(addr)
	if errno != 0 {
		return nil, "", errno
	}
	d, errno := base(dirfd, path)
	return d, path, errno
}

// base returns the directory where the lookup of path begins. An absolute path does
// not use the descriptor. Nor does an empty one, which the VFS refuses.
func base(dirfd uintptr, path string) (*vfs.Dentry, linux.Errno) {
	if path == "" || path[0] == '/' {
		return nil, 0
	}
	if call.FD(dirfd) == linux.AT_FDCWD {
		return vfs.Cwd(), 0
	}
	f, errno := call.File(dirfd)
	if errno != 0 {
		return nil, errno
	}
	if d := vfs.DentryOf(f); d != nil {
		return d, 0
	}
	return nil, linux.ENOTDIR
}

// walk resolves the path at addr, beginning at dirfd.
func walk(dirfd, addr uintptr, follow bool) (*vfs.Dentry, linux.Errno) {
	at, path, errno := place(dirfd, addr)
	if errno != 0 {
		return nil, errno
	}
	return vfs.Walk(at, path, follow)
}

// emptyPath reports whether a call has AT_EMPTY_PATH and no path.
func emptyPath(addr, flags uintptr) (bool, linux.Errno) {
	if flags&linux.AT_EMPTY_PATH == 0 {
		return false, 0
	}
	if addr == 0 { // since Linux 6.11
		return true, 0
	}
	path, errno := call.Path(addr)
	return path == "", errno
}

// target returns the object that dirfd and the path at addr name. flags may have
// AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH.
func target(dirfd, addr, flags uintptr) (*vfs.Dentry, linux.Errno) {
	empty, errno := emptyPath(addr, flags)
	if errno != 0 {
		return nil, errno
	}
	if !empty {
		return walk(dirfd, addr, flags&linux.AT_SYMLINK_NOFOLLOW == 0)
	}
	if call.FD(dirfd) == linux.AT_FDCWD {
		return vfs.Cwd(), 0
	}
	return dentry(dirfd)
}

// dentry returns the name that a descriptor was opened by; EINVAL for a socket or
// the like.
func dentry(fd uintptr) (*vfs.Dentry, linux.Errno) {
	f, errno := call.File(fd)
	if errno != 0 {
		return nil, errno
	}
	if d := vfs.DentryOf(f); d != nil {
		return d, 0
	}
	return nil, linux.EINVAL
}
