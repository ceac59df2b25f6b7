package files

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

// setAttr changes attributes of the object of d and notifies inotify.
func setAttr(d *vfs.Dentry, a *vfs.Attr) linux.Errno {
	errno := d.SetAttr(a)
	if errno == 0 {
		d.Notify(linux.IN_ATTRIB)
	}
	return errno
}

// setAttrFile changes attributes of the file of a descriptor. A file outside the file
// system has none to change.
func setAttrFile(fd uintptr, a *vfs.Attr) linux.Errno {
	f, errno := call.File(fd)
	if errno != 0 {
		return errno
	}
	if vfs.IsPath(f) {
		return linux.EBADF
	}
	if d := vfs.DentryOf(f); d != nil {
		return setAttr(d, a)
	}
	return 0
}

func chmod(dirfd, path, mode, flags uintptr) (uintptr, linux.Errno) {
	if flags&^(linux.AT_SYMLINK_NOFOLLOW|linux.AT_EMPTY_PATH) != 0 {
		return 0, linux.EINVAL
	}
	d, errno := target(dirfd, path, flags)
	if errno != 0 {
		return 0, errno
	}
	if _, ok := d.Inode().(vfs.Symlink); ok {
		return 0, linux.EOPNOTSUPP
	}
	return 0, setAttr(d, &vfs.Attr{Valid: vfs.AttrMode, Mode: uint32(mode)})
}

func chown(dirfd, path, uid, gid, flags uintptr) (uintptr, linux.Errno) {
	if flags&^(linux.AT_SYMLINK_NOFOLLOW|linux.AT_EMPTY_PATH) != 0 {
		return 0, linux.EINVAL
	}
	d, errno := target(dirfd, path, flags)
	if errno != 0 {
		return 0, errno
	}
	return 0, setAttr(d, owner(uid, gid))
}

// owner returns the change that chown(2) makes. -1 leaves an id unchanged.
func owner(uid, gid uintptr) *vfs.Attr {
	a := &vfs.Attr{Valid: vfs.AttrChown, UID: uint32(uid), GID: uint32(gid)}
	if a.UID != ^uint32(0) {
		a.Valid |= vfs.AttrUID
	}
	if a.GID != ^uint32(0) {
		a.Valid |= vfs.AttrGID
	}
	return a
}

// utimensat is utimensat(2).
func utimensat(a *call.Args) (uintptr, linux.Errno) {
	if a.A2 == 0 {
		return 0, setTimes(a.A0, a.A1, a.A3, nil)
	}
	ts, errno := call.At[[2]linux.Timespec](a.A2)
	if errno != 0 {
		return 0, errno
	}
	if ts[0].Nsec == linux.UTIME_OMIT && ts[1].Nsec == linux.UTIME_OMIT {
		return 0, 0
	}
	return 0, setTimes(a.A0, a.A1, a.A3, ts)
}

// setTimes sets the times of what dirfd and the path at addr name; without a path, of
// the descriptor's own file. If ts is nil, both times are now.
func setTimes(dirfd, addr, flags uintptr, ts *[2]linux.Timespec) linux.Errno {
	d, errno := timed(dirfd, addr, flags)
	if errno != 0 {
		return errno
	}
	attr, errno := times(ts)
	if errno != 0 || d == nil {
		return errno
	}
	return setAttr(d, attr)
}

// timed returns the object that utimensat(2) means; nil if it is not in the file
// system.
func timed(dirfd, addr, flags uintptr) (*vfs.Dentry, linux.Errno) {
	if addr == 0 && call.FD(dirfd) != linux.AT_FDCWD && flags&linux.AT_EMPTY_PATH == 0 {
		f, errno := call.File(dirfd)
		switch {
		case flags != 0:
			return nil, linux.EINVAL
		case errno != 0 || vfs.IsPath(f):
			return nil, linux.EBADF
		}
		return vfs.DentryOf(f), 0
	}
	if flags&^(linux.AT_SYMLINK_NOFOLLOW|linux.AT_EMPTY_PATH) != 0 {
		return nil, linux.EINVAL
	}
	return target(dirfd, addr, flags)
}

// times returns the change that utimensat(2) makes.
func times(ts *[2]linux.Timespec) (*vfs.Attr, linux.Errno) {
	now := vfs.Now()
	attr := vfs.Attr{Valid: vfs.AttrAtime | vfs.AttrMtime, Atime: now, Mtime: now}
	if ts == nil || ts[0].Nsec == linux.UTIME_NOW && ts[1].Nsec == linux.UTIME_NOW {
		attr.Valid |= vfs.AttrTouch
		return &attr, 0
	}
	for i, to := range []*linux.Timespec{&attr.Atime, &attr.Mtime} {
		switch t := ts[i]; {
		case t.Nsec == linux.UTIME_OMIT:
			attr.Valid &^= []vfs.AttrMask{vfs.AttrAtime, vfs.AttrMtime}[i]
		case t.Nsec == linux.UTIME_NOW:
		case t.Nsec < 0 || t.Nsec >= 1e9:
			return nil, linux.EINVAL
		default:
			*to = t
		}
	}
	return &attr, 0
}

// futimesat is futimesat(2), with times in microseconds.
func futimesat(dirfd, path, times uintptr) (uintptr, linux.Errno) {
	if times == 0 {
		return 0, setTimes(dirfd, path, 0, nil)
	}
	tv, errno := call.At[[2]linux.Timeval](times)
	if errno != 0 {
		return 0, errno
	}
	var ts [2]linux.Timespec
	for i, t := range tv {
		if t.Usec < 0 || t.Usec >= 1e6 {
			return 0, linux.EINVAL
		}
		ts[i] = linux.Timespec{Sec: t.Sec, Nsec: t.Usec * 1000}
	}
	return 0, setTimes(dirfd, path, 0, &ts)
}

// utime is utime(2), with times in seconds.
func utime(a *call.Args) (uintptr, linux.Errno) {
	if a.A1 == 0 {
		return 0, setTimes(atCwd, a.A0, 0, nil)
	}
	sec, errno := call.At[[2]int64](a.A1)
	if errno != 0 {
		return 0, errno
	}
	return 0, setTimes(atCwd, a.A0, 0, &[2]linux.Timespec{{Sec: sec[0]}, {Sec: sec[1]}})
}

func truncate(a *call.Args) (uintptr, linux.Errno) {
	if int64(a.A1) < 0 {
		return 0, linux.EINVAL
	}
	d, errno := walk(atCwd, a.A0, true)
	if errno != 0 {
		return 0, errno
	}
	if _, ok := d.Inode().(vfs.Dir); ok {
		return 0, linux.EISDIR
	}
	errno = d.SetAttr(&vfs.Attr{Valid: vfs.AttrSize, Size: int64(a.A1)})
	if errno == 0 {
		d.Notify(linux.IN_MODIFY)
	}
	return 0, errno
}

func ftruncate(a *call.Args) (uintptr, linux.Errno) {
	if int64(a.A1) < 0 {
		return 0, linux.EINVAL
	}
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	return 0, f.Truncate(int64(a.A1))
}

func fallocate(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	if vfs.IsPath(f) {
		return 0, linux.EBADF
	}
	mode, off, n := uint32(a.A1), int64(a.A2), int64(a.A3)
	const known = linux.FALLOC_FL_KEEP_SIZE | linux.FALLOC_FL_PUNCH_HOLE | linux.FALLOC_FL_ZERO_RANGE
	punch := mode&linux.FALLOC_FL_PUNCH_HOLE != 0
	switch {
	case off < 0 || n <= 0:
		return 0, linux.EINVAL
	case mode&^uint32(known) != 0,
		punch && mode != linux.FALLOC_FL_PUNCH_HOLE|linux.FALLOC_FL_KEEP_SIZE:
		return 0, linux.EOPNOTSUPP
	case f.Flags()&linux.O_ACCMODE == linux.O_RDONLY:
		return 0, linux.EBADF
	case off+n < 0:
		return 0, linux.EFBIG
	}
	if t, ok := f.(vfs.Allocator); ok {
		return 0, t.Fallocate(mode, off, n)
	}
	if isPipe(f) {
		return 0, linux.ESPIPE
	}
	return 0, linux.ENODEV
}

// isStream reports whether f has no offset: a pipe, a socket or the like.
func isStream(f file.File) bool {
	_, errno := f.Lseek(0, linux.SEEK_CUR)
	return errno == linux.ESPIPE
}

// fadvise is posix_fadvise(2). Files are in memory: nothing to read ahead or to drop.
func fadvise(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	switch {
	case errno != 0:
		return 0, errno
	case vfs.IsPath(f):
		return 0, linux.EBADF
	case int64(a.A2) < 0 || a.A3 > linux.POSIX_FADV_NOREUSE:
		return 0, linux.EINVAL
	case isPipe(f):
		return 0, linux.ESPIPE
	}
	return 0, 0
}

func isPipe(f file.File) bool {
	var st linux.Stat
	return f.Stat(&st) == 0 && st.Mode&linux.S_IFMT == linux.S_IFIFO
}

func fsync(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	return 0, f.Sync()
}

func syncfs(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno == 0 && vfs.IsPath(f) {
		errno = linux.EBADF
	}
	return 0, errno
}

func syncFileRange(a *call.Args) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	switch {
	case errno != 0:
		return 0, errno
	case vfs.IsPath(f):
		return 0, linux.EBADF
	case int64(a.A1) < 0 || int64(a.A2) < 0 || int64(a.A1+a.A2) < 0 || a.A3&^7 != 0:
		return 0, linux.EINVAL
	case isStream(f):
		return 0, linux.ESPIPE
	}
	return 0, 0
}
