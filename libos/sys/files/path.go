package files

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

// atCwd is linux.AT_FDCWD as an argument.
const atCwd = ^uintptr(-(linux.AT_FDCWD + 1))

// place is what a directory descriptor and the path at addr name: where to
// begin, and the path.
func place(dirfd, addr uintptr) (*vfs.Dentry, string, linux.Errno) {
	path, errno := call.Path(addr)
	if errno != 0 {
		return nil, "", errno
	}
	d, errno := base(dirfd, path)
	return d, path, errno
}

// base is where path begins. An absolute one does not look at the descriptor,
// nor does an empty one, which the VFS refuses.
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

// walk resolves the path at addr from dirfd.
func walk(dirfd, addr uintptr, follow bool) (*vfs.Dentry, linux.Errno) {
	at, path, errno := place(dirfd, addr)
	if errno != 0 {
		return nil, errno
	}
	return vfs.Walk(at, path, follow)
}

// emptyPath says whether a call with AT_EMPTY_PATH has no path.
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

// target is what dirfd and the path at addr name under flags with
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

// dentry is the name by which a descriptor was opened; EINVAL for sockets and
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
