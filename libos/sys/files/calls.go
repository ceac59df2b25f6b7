// Package files has the system calls on files: descriptors, paths, reading and
// writing, attributes, directories, locks, pipes and inotify. The files themselves
// are in packages vfs, pipe and inotify.
package files

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

// Common are the calls that package syscall makes itself: see package sys.
var Common = []call.Entry{
	// Attributes.
	{linux.SYS_FCHMODAT, func(a *call.Args) (uintptr, linux.Errno) { return chmod(a.A0, a.A1, a.A2, 0) }},
	{linux.SYS_FCHMODAT2, func(a *call.Args) (uintptr, linux.Errno) { return chmod(a.A0, a.A1, a.A2, a.A3) }},
	{linux.SYS_FCHMOD, func(a *call.Args) (uintptr, linux.Errno) {
		return 0, setAttrFile(a.A0, &vfs.Attr{Valid: vfs.AttrMode, Mode: uint32(a.A1)})
	}},
	{linux.SYS_FCHOWNAT, func(a *call.Args) (uintptr, linux.Errno) { return chown(a.A0, a.A1, a.A2, a.A3, a.A4) }},
	{linux.SYS_FCHOWN, func(a *call.Args) (uintptr, linux.Errno) { return 0, setAttrFile(a.A0, owner(a.A1, a.A2)) }},
	{linux.SYS_UTIMENSAT, utimensat},
	{linux.SYS_FUTIMESAT, func(a *call.Args) (uintptr, linux.Errno) { return futimesat(a.A0, a.A1, a.A2) }},
	{linux.SYS_UTIMES, func(a *call.Args) (uintptr, linux.Errno) { return futimesat(atCwd, a.A0, a.A1) }},
	{linux.SYS_UTIME, utime},
	{linux.SYS_TRUNCATE, truncate},
	{linux.SYS_FTRUNCATE, ftruncate},
	{linux.SYS_FALLOCATE, fallocate},
	{linux.SYS_FSYNC, fsync},
	{linux.SYS_FDATASYNC, fsync},
	{linux.SYS_SYNC_FILE_RANGE, syncFileRange},
	{linux.SYS_SYNC, func(*call.Args) (uintptr, linux.Errno) { return 0, 0 }},
	// From file to file.
	{linux.SYS_SENDFILE, sendfile},
	{linux.SYS_COPY_FILE_RANGE, copyFileRange},
	{linux.SYS_SPLICE, movePages},
	{linux.SYS_TEE, movePages},
	{linux.SYS_VMSPLICE, movePages},
	// Descriptors.
	{linux.SYS_CLOSE, func(a *call.Args) (uintptr, linux.Errno) { return 0, closeFD(call.FD(a.A0)) }},
	{linux.SYS_DUP, func(a *call.Args) (uintptr, linux.Errno) { return dup(a.A0, 0, false) }},
	{linux.SYS_DUP2, dup2},
	{linux.SYS_DUP3, dup3},
	{linux.SYS_FCNTL, fcntl},
	{linux.SYS_IOCTL, ioctl},
	{linux.SYS_FLOCK, flock},
	// Names and directories.
	{linux.SYS_MKDIRAT, func(a *call.Args) (uintptr, linux.Errno) {
		return makeNode(a.A0, a.A1, linux.S_IFDIR|uint32(a.A2)&0o1777, 0)
	}},
	{linux.SYS_MKNODAT, func(a *call.Args) (uintptr, linux.Errno) { return mknod(a.A0, a.A1, uint32(a.A2), a.A3) }},
	{linux.SYS_SYMLINKAT, func(a *call.Args) (uintptr, linux.Errno) { return symlink(a.A0, a.A1, a.A2) }},
	{linux.SYS_LINK, func(a *call.Args) (uintptr, linux.Errno) { return link(atCwd, a.A0, atCwd, a.A1, 0) }},
	{linux.SYS_LINKAT, func(a *call.Args) (uintptr, linux.Errno) { return link(a.A0, a.A1, a.A2, a.A3, a.A4) }},
	{linux.SYS_UNLINKAT, func(a *call.Args) (uintptr, linux.Errno) { return unlink(a.A0, a.A1, a.A2) }},
	{linux.SYS_RENAMEAT, func(a *call.Args) (uintptr, linux.Errno) { return rename(a.A0, a.A1, a.A2, a.A3, 0) }},
	{linux.SYS_RENAMEAT2, func(a *call.Args) (uintptr, linux.Errno) { return rename(a.A0, a.A1, a.A2, a.A3, a.A4) }},
	{linux.SYS_READLINKAT, func(a *call.Args) (uintptr, linux.Errno) { return readlink(a.A0, a.A1, a.A2, a.A3) }},
	{linux.SYS_GETCWD, getcwd},
	{linux.SYS_CHDIR, chdir},
	{linux.SYS_FCHDIR, fchdir},
	{linux.SYS_GETDENTS64, func(a *call.Args) (uintptr, linux.Errno) { return getdents(a, putDirent64) }},
	// The tree of files is made at the start and stays.
	{linux.SYS_CHROOT, call.NotPermitted},
	{linux.SYS_MOUNT, call.NotPermitted},
	{linux.SYS_UMOUNT2, call.NotPermitted},
	{linux.SYS_PIVOT_ROOT, call.NotPermitted},
	// Opening.
	{linux.SYS_OPENAT, func(a *call.Args) (uintptr, linux.Errno) {
		return open(a.A0, a.A1, uint32(a.A2), uint32(a.A3))
	}},
	{linux.SYS_UMASK, func(a *call.Args) (uintptr, linux.Errno) {
		return uintptr(call.Umask.Swap(uint32(a.A0) & 0o777)), 0
	}},
	// Pipes.
	{linux.SYS_PIPE, func(a *call.Args) (uintptr, linux.Errno) { return sysPipe(a.A0, 0) }},
	{linux.SYS_PIPE2, func(a *call.Args) (uintptr, linux.Errno) { return sysPipe(a.A0, uint32(a.A1)) }},
	// Reading and writing.
	{linux.SYS_READ, sysRead},
	{linux.SYS_WRITE, sysWrite},
	{linux.SYS_PREAD64, pread},
	{linux.SYS_PWRITE64, pwrite},
	{linux.SYS_WRITEV, writev},
	{linux.SYS_LSEEK, lseek},
	// Status.
	{linux.SYS_NEWFSTATAT, func(a *call.Args) (uintptr, linux.Errno) { return stat(a.A0, a.A1, a.A2, a.A3) }},
	{linux.SYS_FSTAT, fstat},
	{linux.SYS_STATFS, statfs},
	{linux.SYS_FSTATFS, fstatfs},
	{linux.SYS_FACCESSAT, func(a *call.Args) (uintptr, linux.Errno) { return access(a.A0, a.A1, a.A2, 0) }},
	{linux.SYS_FACCESSAT2, func(a *call.Args) (uintptr, linux.Errno) { return access(a.A0, a.A1, a.A2, a.A3) }},
}

// Rest are the calls that only a program that names system calls makes: see
// package sys.
var Rest = []call.Entry{
	// Attributes.
	{linux.SYS_CHMOD, func(a *call.Args) (uintptr, linux.Errno) { return chmod(atCwd, a.A0, a.A1, 0) }},
	{linux.SYS_CHOWN, func(a *call.Args) (uintptr, linux.Errno) { return chown(atCwd, a.A0, a.A1, a.A2, 0) }},
	{linux.SYS_LCHOWN, func(a *call.Args) (uintptr, linux.Errno) {
		return chown(atCwd, a.A0, a.A1, a.A2, linux.AT_SYMLINK_NOFOLLOW)
	}},
	{linux.SYS_FADVISE64, fadvise},
	{linux.SYS_SYNCFS, syncfs},
	// Descriptors.
	{linux.SYS_CLOSE_RANGE, closeRange},
	// Names and directories.
	{linux.SYS_MKDIR, func(a *call.Args) (uintptr, linux.Errno) {
		return makeNode(atCwd, a.A0, linux.S_IFDIR|uint32(a.A1)&0o1777, 0)
	}},
	{linux.SYS_MKNOD, func(a *call.Args) (uintptr, linux.Errno) { return mknod(atCwd, a.A0, uint32(a.A1), a.A2) }},
	{linux.SYS_SYMLINK, func(a *call.Args) (uintptr, linux.Errno) { return symlink(a.A0, atCwd, a.A1) }},
	{linux.SYS_UNLINK, func(a *call.Args) (uintptr, linux.Errno) { return unlink(atCwd, a.A0, 0) }},
	{linux.SYS_RMDIR, func(a *call.Args) (uintptr, linux.Errno) { return unlink(atCwd, a.A0, linux.AT_REMOVEDIR) }},
	{linux.SYS_RENAME, func(a *call.Args) (uintptr, linux.Errno) { return rename(atCwd, a.A0, atCwd, a.A1, 0) }},
	{linux.SYS_READLINK, func(a *call.Args) (uintptr, linux.Errno) { return readlink(atCwd, a.A0, a.A1, a.A2) }},
	{linux.SYS_GETDENTS, func(a *call.Args) (uintptr, linux.Errno) { return getdents(a, putDirent) }},
	// Opening.
	{linux.SYS_OPEN, func(a *call.Args) (uintptr, linux.Errno) {
		return open(atCwd, a.A0, uint32(a.A1), uint32(a.A2))
	}},
	{linux.SYS_CREAT, func(a *call.Args) (uintptr, linux.Errno) {
		return open(atCwd, a.A0, linux.O_CREAT|linux.O_WRONLY|linux.O_TRUNC, uint32(a.A1))
	}},
	{linux.SYS_OPENAT2, openat2},
	// Reading and writing.
	{linux.SYS_READV, readv},
	{linux.SYS_PREADV, preadv},
	{linux.SYS_PWRITEV, pwritev},
	{linux.SYS_PREADV2, preadv2},
	{linux.SYS_PWRITEV2, pwritev2},
	// Status.
	{linux.SYS_STAT, func(a *call.Args) (uintptr, linux.Errno) { return stat(atCwd, a.A0, a.A1, 0) }},
	{linux.SYS_LSTAT, func(a *call.Args) (uintptr, linux.Errno) {
		return stat(atCwd, a.A0, a.A1, linux.AT_SYMLINK_NOFOLLOW)
	}},
	{linux.SYS_STATX, statx},
	{linux.SYS_ACCESS, func(a *call.Args) (uintptr, linux.Errno) { return access(atCwd, a.A0, a.A1, 0) }},
	// Extended attributes.
	{linux.SYS_GETXATTR, func(a *call.Args) (uintptr, linux.Errno) { return getxattr(a, ofPath) }},
	{linux.SYS_LGETXATTR, func(a *call.Args) (uintptr, linux.Errno) { return getxattr(a, ofLink) }},
	{linux.SYS_FGETXATTR, func(a *call.Args) (uintptr, linux.Errno) { return getxattr(a, ofDescriptor) }},
	{linux.SYS_SETXATTR, func(a *call.Args) (uintptr, linux.Errno) { return setxattr(a, ofPath) }},
	{linux.SYS_LSETXATTR, func(a *call.Args) (uintptr, linux.Errno) { return setxattr(a, ofLink) }},
	{linux.SYS_FSETXATTR, func(a *call.Args) (uintptr, linux.Errno) { return setxattr(a, ofDescriptor) }},
	{linux.SYS_LISTXATTR, func(a *call.Args) (uintptr, linux.Errno) { return listxattr(a, ofPath) }},
	{linux.SYS_LLISTXATTR, func(a *call.Args) (uintptr, linux.Errno) { return listxattr(a, ofLink) }},
	{linux.SYS_FLISTXATTR, func(a *call.Args) (uintptr, linux.Errno) { return listxattr(a, ofDescriptor) }},
	{linux.SYS_REMOVEXATTR, func(a *call.Args) (uintptr, linux.Errno) { return removexattr(a, ofPath) }},
	{linux.SYS_LREMOVEXATTR, func(a *call.Args) (uintptr, linux.Errno) { return removexattr(a, ofLink) }},
	{linux.SYS_FREMOVEXATTR, func(a *call.Args) (uintptr, linux.Errno) { return removexattr(a, ofDescriptor) }},
	// Inotify.
	{linux.SYS_INOTIFY_INIT, func(a *call.Args) (uintptr, linux.Errno) { return inotifyInit(0) }},
	{linux.SYS_INOTIFY_INIT1, func(a *call.Args) (uintptr, linux.Errno) { return inotifyInit(uint32(a.A0)) }},
	{linux.SYS_INOTIFY_ADD_WATCH, inotifyAddWatch},
	{linux.SYS_INOTIFY_RM_WATCH, inotifyRmWatch},
}
