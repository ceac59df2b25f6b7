package files

import (
	"unsafe"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

func makeNode(dirfd, path uintptr, mode uint32, rdev uint64) (uintptr, linux.Errno) {
	at, p, errno := place(dirfd, path)
	if errno != 0 {
		return 0, errno
	}
	return 0, vfs.Make(at, p, &vfs.NewInode{Mode: mode &^ call.Umask.Load(), Rdev: rdev})
}

func mknod(dirfd, path uintptr, mode uint32, dev uintptr) (uintptr, linux.Errno) {
	switch mode & linux.S_IFMT {
	case 0:
		mode |= linux.S_IFREG
	case linux.S_IFREG, linux.S_IFIFO, linux.S_IFSOCK:
	case linux.S_IFCHR, linux.S_IFBLK:
		if !cred.Has(linux.CAP_MKNOD) {
			return 0, linux.EPERM
		}
		return makeNode(dirfd, path, mode&0xffff, uint64(uint32(dev)))
	case linux.S_IFDIR:
		return 0, linux.EPERM
	default:
		return 0, linux.EINVAL
	}
	return makeNode(dirfd, path, mode&0xffff, 0)
}

func symlink(target, dirfd, path uintptr) (uintptr, linux.Errno) {
	to, errno := call.Path(target)
	if errno != 0 {
		return 0, errno
	}
	if to == "" {
		return 0, linux.ENOENT
	}
	at, p, errno := place(dirfd, path)
	if errno != 0 {
		return 0, errno
	}
	return 0, vfs.Make(at, p, &vfs.NewInode{Mode: linux.S_IFLNK | 0o777, Target: to})
}

func link(fromFD, from, toFD, to, flags uintptr) (uintptr, linux.Errno) {
	if flags&^(linux.AT_SYMLINK_FOLLOW|linux.AT_EMPTY_PATH) != 0 {
		return 0, linux.EINVAL
	}
	how := flags & linux.AT_EMPTY_PATH
	if flags&linux.AT_SYMLINK_FOLLOW == 0 {
		how |= linux.AT_SYMLINK_NOFOLLOW
	}
	d, errno := target(fromFD, from, how)
	if errno != 0 {
		return 0, errno
	}
	at, p, errno := place(toFD, to)
	if errno != 0 {
		return 0, errno
	}
	return 0, vfs.Hardlink(d, at, p)
}

func unlink(dirfd, path, flags uintptr) (uintptr, linux.Errno) {
	if flags&^linux.AT_REMOVEDIR != 0 {
		return 0, linux.EINVAL
	}
	at, p, errno := place(dirfd, path)
	switch {
	case errno != 0:
		return 0, errno
	case flags != 0:
		return 0, vfs.Rmdir(at, p)
	}
	return 0, vfs.Unlink(at, p)
}

func rename(fromFD, from, toFD, to, flags uintptr) (uintptr, linux.Errno) {
	switch flags {
	case 0, linux.RENAME_NOREPLACE, linux.RENAME_EXCHANGE:
	default:
		return 0, linux.EINVAL
	}
	fromAt, fromPath, errno := place(fromFD, from)
	if errno != 0 {
		return 0, errno
	}
	toAt, toPath, errno := place(toFD, to)
	if errno != 0 {
		return 0, errno
	}
	return 0, vfs.Rename(fromAt, fromPath, toAt, toPath, uint(flags))
}

// readlink is readlinkat(2). An empty path means the descriptor itself, which was
// opened with O_PATH and O_NOFOLLOW.
func readlink(dirfd, path, buf, size uintptr) (uintptr, linux.Errno) {
	if int32(size) <= 0 {
		return 0, linux.EINVAL
	}
	out, errno := call.Bytes(buf, size)
	if errno != 0 {
		return 0, errno
	}
	empty, errno := emptyPath(path, linux.AT_EMPTY_PATH)
	if errno != 0 {
		return 0, errno
	}
	d, errno := target(dirfd, path, linux.AT_EMPTY_PATH|linux.AT_SYMLINK_NOFOLLOW)
	if errno != 0 {
		return 0, errno
	}
	s, errno := vfs.Readlink(d)
	if errno == linux.EINVAL && empty {
		errno = linux.ENOENT
	}
	return uintptr(copy(out, s)), errno
}

func getcwd(a *call.Args) (uintptr, linux.Errno) {
	d := vfs.Cwd()
	if d.Deleted() {
		return 0, linux.ENOENT
	}
	path := d.Path() + "\x00"
	if uintptr(len(path)) > a.A1 {
		return 0, linux.ERANGE
	}
	out, errno := call.Bytes(a.A0, uintptr(len(path)))
	return uintptr(copy(out, path)), errno
}

func chdir(a *call.Args) (uintptr, linux.Errno) {
	d, errno := walk(atCwd, a.A0, true)
	if errno != 0 {
		return 0, errno
	}
	return 0, vfs.Chdir(d)
}

func fchdir(a *call.Args) (uintptr, linux.Errno) {
	d, errno := dentry(a.A0)
	if errno == linux.EINVAL {
		errno = linux.ENOTDIR
	}
	if errno != 0 {
		return 0, errno
	}
	return 0, vfs.Chdir(d)
}

// getdents fills the caller's buffer with entries. put writes one and returns its
// size, or 0 if it does not fit.
func getdents(a *call.Args, put func(p []byte, e *vfs.DirEntry) int) (uintptr, linux.Errno) {
	f, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	buf, errno := call.Bytes(a.A1, uintptr(uint32(a.A2)))
	if errno != 0 {
		return 0, errno
	}
	if vfs.IsPath(f) {
		return 0, linux.EBADF
	}
	dir, ok := f.(*vfs.DirFile)
	if !ok {
		return 0, linux.ENOTDIR
	}
	done, full := 0, false
	errno = dir.ReadDir(func(e vfs.DirEntry) bool {
		n := put(buf[done:], &e)
		full = n == 0
		done += n
		return !full
	})
	if errno == 0 && full && done == 0 {
		errno = linux.EINVAL
	}
	return uintptr(done), errno
}

// dirent is the head of struct linux_dirent64 and of struct linux_dirent
// (getdents(2)). In the first, the type follows, then the name. In the second, the
// name follows, and the type is the last byte.
type dirent struct {
	ino    uint64
	off    int64
	reclen uint16
}

const direntHead = 18

func putDirent64(p []byte, e *vfs.DirEntry) int {
	size := (direntHead + 1 + len(e.Name) + 1 + 7) &^ 7
	if size > len(p) {
		return 0
	}
	putHead(p, e, size)
	p[direntHead] = byte(e.Mode >> linux.DT_SHIFT)
	clear(p[direntHead+1+copy(p[direntHead+1:size], e.Name) : size])
	return size
}

func putDirent(p []byte, e *vfs.DirEntry) int {
	size := (direntHead + len(e.Name) + 2 + 7) &^ 7
	if size > len(p) {
		return 0
	}
	putHead(p, e, size)
	clear(p[direntHead+copy(p[direntHead:size], e.Name) : size])
	p[size-1] = byte(e.Mode >> linux.DT_SHIFT)
	return size
}

// putHead stores the head at the beginning of p, which may be unaligned.
func putHead(p []byte, e *vfs.DirEntry, size int) {
	*(*dirent)(unsafe.Pointer(&p[0])) = dirent{e.Ino, e.Next, uint16(size)}
}
