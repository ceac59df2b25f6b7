package files

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

func fstat(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	st, errno := call.At[linux.Stat](a.A1)
	if errno != 0 {
		return 0, errno
	}
	return 0, f.Stat(st)
}

func stat(dirfd, path, buf, flags uintptr) (uintptr, linux.Errno) {
	const known = linux.AT_SYMLINK_NOFOLLOW | linux.AT_EMPTY_PATH | linux.AT_NO_AUTOMOUNT
	if flags&^known != 0 {
		return 0, linux.EINVAL
	}
	st, errno := call.At[linux.Stat](buf)
	if errno != 0 {
		return 0, errno
	}
	return 0, statAt(dirfd, path, flags, st)
}

// statAt fills in st for the calls that have AT_ flags.
func statAt(dirfd, addr, flags uintptr, st *linux.Stat) linux.Errno {
	if empty, errno := emptyPath(addr, flags); errno != 0 {
		return errno
	} else if empty && call.FD(dirfd) != linux.AT_FDCWD {
		f, errno := call.File(dirfd)
		if errno != 0 {
			return errno
		}
		return f.Stat(st)
	}
	d, errno := target(dirfd, addr, flags)
	if errno == 0 {
		errno = d.Stat(st)
	}
	return errno
}

func statx(a *call.Args) (uintptr, linux.Errno) {
	const known = linux.AT_SYMLINK_NOFOLLOW | linux.AT_EMPTY_PATH | linux.AT_NO_AUTOMOUNT | linux.AT_STATX_SYNC_TYPE
	if a.A2&^known != 0 || a.A2&linux.AT_STATX_SYNC_TYPE == linux.AT_STATX_SYNC_TYPE || a.A3&linux.STATX__RESERVED != 0 {
		return 0, linux.EINVAL
	}
	x, errno := call.At[linux.Statx](a.A4)
	if errno != 0 {
		return 0, errno
	}
	var st linux.Stat
	if errno := statAt(a.A0, a.A1, a.A2, &st); errno != 0 {
		return 0, errno
	}
	*x = linux.StatxOf(&st)
	return 0, 0
}

func statfs(a *call.Args) (uintptr, linux.Errno) {
	d, errno := walk(atCwd, a.A0, true)
	if errno != 0 {
		return 0, errno
	}
	return statfsOf(d, a.A1)
}

func fstatfs(a *call.Args) (uintptr, linux.Errno) {
	d, errno := dentry(a.A0)
	if errno == linux.EINVAL {
		errno = linux.ENOSYS
	}
	if errno != 0 {
		return 0, errno
	}
	return statfsOf(d, a.A1)
}

func statfsOf(d *vfs.Dentry, buf uintptr) (uintptr, linux.Errno) {
	st, errno := call.At[linux.Statfs](buf)
	if errno == 0 {
		d.Inode().FS().Statfs(st)
	}
	return 0, errno
}

// access is faccessat2(2).
func access(dirfd, path, mode, flags uintptr) (uintptr, linux.Errno) {
	const known = linux.AT_EACCESS | linux.AT_SYMLINK_NOFOLLOW | linux.AT_EMPTY_PATH
	if mode&^(linux.R_OK|linux.W_OK|linux.X_OK) != 0 || flags&^known != 0 {
		return 0, linux.EINVAL
	}
	d, errno := target(dirfd, path, flags)
	if errno == linux.EINVAL && flags&linux.AT_EMPTY_PATH != 0 { // a socket or the like
		if mode&linux.X_OK != 0 {
			return 0, linux.EACCES
		}
		return 0, 0
	}
	if errno != 0 {
		return 0, errno
	}
	if mode&linux.W_OK != 0 && d.Inode().FS().ReadOnly && d.FileType() != linux.S_IFIFO {
		return 0, linux.EROFS
	}
	if flags&linux.AT_EACCESS != 0 {
		return 0, d.May(vfs.Access(mode))
	}
	return 0, d.MayReally(vfs.Access(mode))
}
