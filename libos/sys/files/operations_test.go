package files_test

import (
	"fmt"

	"github.com/pith-os/pith/libos/linux"
)

type operation struct {
	name string
	run  func(w *world, in input) string
}

var openFlagSets = []uint32{
	0, linux.O_RDWR, linux.O_WRONLY, linux.O_RDWR | linux.O_CREAT, linux.O_WRONLY | linux.O_CREAT | linux.O_TRUNC,
	linux.O_RDWR | linux.O_CREAT | linux.O_EXCL, linux.O_RDWR | linux.O_CREAT | linux.O_APPEND, linux.O_DIRECTORY,
	linux.O_RDWR | linux.O_TRUNC, linux.O_PATH, linux.O_PATH | linux.O_NOFOLLOW, linux.O_NOFOLLOW, linux.O_RDWR | linux.O_NOFOLLOW,
	linux.O_RDWR | linux.O_TMPFILE, linux.O_RDWR | linux.O_TMPFILE | linux.O_EXCL, linux.O_TMPFILE, linux.O_CREAT | linux.O_DIRECTORY, linux.O_DIRECTORY | linux.O_RDWR,
	linux.O_CREAT | linux.O_NOFOLLOW | linux.O_RDWR, linux.O_NOATIME | linux.O_RDWR | linux.O_CREAT, linux.O_CREAT | linux.O_RDONLY | linux.O_TRUNC,
	linux.O_PATH | linux.O_DIRECTORY, linux.O_RDONLY | linux.O_TRUNC, linux.O_CLOEXEC, linux.O_RDWR | linux.O_SYNC | linux.O_CLOEXEC,
}

var operations = []operation{
	{"open", opOpen}, {"open", opOpen}, {"open", opOpen},
	{"openat2", func(w *world, in input) string {
		how := &linux.OpenHow{Flags: uint64(openFlagSets[in.pick(len(openFlagSets))]), Resolve: uint64(in.pick(32))}
		if how.Flags&(linux.O_CREAT|linux.O_TMPFILE&^linux.O_DIRECTORY) != 0 {
			how.Mode = 0o640
		}
		if w.ninep && how.Flags&linux.O_TMPFILE == linux.O_TMPFILE {
			return "temporary"
		}
		name := in.name()
		if in.pick(8) == 0 {
			name = "/" + name
			how.Resolve &^= uint64(0x1f)
			how.Resolve |= 0x10
		}
		r, errno := w.do(linux.SYS_OPENAT2, w.root, w.str(w.path, name), at(how), linux.OpenHowSize)
		return fmt.Sprintf("%q %+v = %s", name, *how, w.installed(r, errno))
	}},
	{"close", func(w *world, in input) string {
		if len(w.fds) == 0 {
			return "none"
		}
		i := in.pick(len(w.fds))
		s := w.plain(fmt.Sprint(i), linux.SYS_CLOSE, w.fds[i])
		w.fds = append(w.fds[:i], w.fds[i+1:]...)
		return s
	}},
	{"write", opWrite}, {"write", opWrite},
	{"pwrite", func(w *world, in input) string {
		i := in.next()
		n, off := lengths[in.pick(len(lengths))], in.off()
		fillPattern(w.data[:n], in.next())
		return w.plain(fmt.Sprint(i, n, off), linux.SYS_PWRITE64, w.fd(input{&[]byte{i}}), at(w.data), uintptr(n), uintptr(off))
	}},
	{"read", func(w *world, in input) string {
		i := in.next()
		n := lengths[in.pick(len(lengths))]
		return w.data_(linux.SYS_READ, i, n, 0)
	}},
	{"pread", func(w *world, in input) string {
		i := in.next()
		n := lengths[in.pick(len(lengths))]
		return w.data_(linux.SYS_PREAD64, i, n, in.off())
	}},
	{"lseek", func(w *world, in input) string {
		fd, off, whence := w.fd(in), in.off(), in.pick(6)
		if w.inode(fd).Mode&linux.S_IFMT == linux.S_IFDIR {
			return "directory"
		}
		if whence >= linux.SEEK_DATA && (w.ninep || w.allocated[w.st.Ino]) {
			return "unspecified" // whether pages without data are holes
		}
		return w.plain(fmt.Sprint(off, whence), linux.SYS_LSEEK, fd, uintptr(off), uintptr(whence))
	}},
	{"ftruncate", func(w *world, in input) string {
		fd, off := w.fd(in), in.off()
		return w.plain(fmt.Sprint(off), linux.SYS_FTRUNCATE, fd, uintptr(off))
	}},
	{"fallocate", func(w *world, in input) string {
		fd, off, n := w.fd(in), in.off(), in.off()
		mode := []uint32{0, 1, 3, 3, 2}[in.pick(5)]
		if mode&linux.FALLOC_FL_PUNCH_HOLE == 0 {
			w.allocated[w.inode(fd).Ino] = true
		}
		return w.plain(fmt.Sprint(mode, off, n), linux.SYS_FALLOCATE, fd, uintptr(mode), uintptr(off), uintptr(n))
	}},
	{"fstat", func(w *world, in input) string {
		return w.stat(w.do(linux.SYS_FSTAT, w.fd(in), at(w.st)))
	}},
	{"stat", opStat}, {"stat", opStat},
	{"statx", func(w *world, in input) string {
		name, flags := in.name(), []uintptr{0, linux.AT_SYMLINK_NOFOLLOW, 0x6000, 0x80000}[in.pick(4)]
		x := new(linux.Statx)
		_, errno := w.do(linux.SYS_STATX, w.root, w.str(w.path, name), flags, linux.STATX_BASIC_STATS, at(x))
		return fmt.Sprintf("%q %d %d %o %d %d", name, errno, x.Nlink, x.Mode, x.Size, x.Blocks)
	}},
	{"mkdir", opMkdir}, {"mkdir", opMkdir},
	{"rmdir", func(w *world, in input) string {
		name := in.name()
		return w.plain(name, linux.SYS_UNLINKAT, w.root, w.str(w.path, name), linux.AT_REMOVEDIR)
	}},
	{"unlink", func(w *world, in input) string {
		name := in.name()
		return w.plain(name, linux.SYS_UNLINKAT, w.root, w.str(w.path, name), 0)
	}},
	{"rename", opRename}, {"rename", opRename},
	{"link", func(w *world, in input) string {
		from, to, flags := in.name(), in.name(), []uintptr{0, linux.AT_SYMLINK_FOLLOW, 1}[in.pick(3)]
		return w.plain(from+" "+to, linux.SYS_LINKAT, w.root, w.str(w.path, from), w.root, w.str(w.path2, to), flags)
	}},
	{"link open", func(w *world, in input) string {
		fd, to := w.fd(in), in.name()
		return w.plain(to, linux.SYS_LINKAT, fd, w.str(w.path, ""), w.root, w.str(w.path2, to), linux.AT_EMPTY_PATH)
	}},
	{"symlink", func(w *world, in input) string {
		to, name := in.name(), in.name()
		return w.plain(to+" "+name, linux.SYS_SYMLINKAT, w.str(w.path, to), w.root, w.str(w.path2, name))
	}},
	{"readlink", func(w *world, in input) string {
		name := in.name()
		n, errno := w.do(linux.SYS_READLINKAT, w.root, w.str(w.path, name), at(w.data), 100)
		if errno != 0 {
			return name + " " + errno.Name()
		}
		return fmt.Sprintf("%s %q", name, w.data[:n])
	}},
	{"chmod", func(w *world, in input) string {
		name, mode := in.name(), []uintptr{0o644, 0o4755, 0o2755, 0o2744, 0o1755, 0, 0o600}[in.pick(7)]
		return w.plain(name, linux.SYS_FCHMODAT, w.root, w.str(w.path, name), mode)
	}},
	{"fchmodat2", func(w *world, in input) string {
		name := in.name()
		return w.plain(name, linux.SYS_FCHMODAT2, w.root, w.str(w.path, name), 0o611, linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"fchmod", func(w *world, in input) string {
		return w.plain("", linux.SYS_FCHMOD, w.fd(in), 0o4711)
	}},
	{"chown", func(w *world, in input) string {
		name, ids := in.name(), []uintptr{0, 7, 1000, ^uintptr(0)}
		uid, gid := ids[in.pick(4)], ids[in.pick(4)]
		return w.plain(fmt.Sprint(name, int32(uid), int32(gid)), linux.SYS_FCHOWNAT, w.root, w.str(w.path, name), uid, gid, uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"fchown", func(w *world, in input) string { return w.plain("", linux.SYS_FCHOWN, w.fd(in), 5, 6) }},
	{"utimensat", func(w *world, in input) string {
		name := in.name()
		for i := range 2 {
			w.nums[2*i] = int64(in.next())
			w.nums[2*i+1] = []int64{0, 123456789, 999999999, 1000000000, linux.UTIME_NOW, linux.UTIME_OMIT}[in.pick(6)]
		}
		return w.plain(fmt.Sprint(name, w.nums[:4]), linux.SYS_UTIMENSAT, w.root, w.str(w.path, name), at(w.nums), uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"futimens", func(w *world, in input) string {
		*w.nums = [8]int64{int64(in.next()), 1, 3, 4}
		return w.plain("", linux.SYS_UTIMENSAT, w.fd(in), 0, at(w.nums), 0)
	}},
	{"list", func(w *world, in input) string {
		name := in.name()
		fd, errno := w.do(linux.SYS_OPENAT, w.root, w.str(w.path, name), linux.O_RDONLY|linux.O_DIRECTORY)
		if errno != 0 {
			return name + " " + errno.Name()
		}
		defer w.do(linux.SYS_CLOSE, fd)
		return name + ": " + w.list(fd)
	}},
	{"list open", func(w *world, in input) string {
		fd := w.fd(in)
		w.do(linux.SYS_LSEEK, fd, 0, 0)
		return w.list(fd)
	}},
	{"access", func(w *world, in input) string {
		name, mode := in.name(), uintptr(in.pick(9))
		return w.plain(fmt.Sprint(name, mode), linux.SYS_FACCESSAT2, w.root, w.str(w.path, name), mode, uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW)
	}},
	{"mknod", func(w *world, in input) string {
		name, mode := in.name(), []uintptr{0o600, linux.S_IFSOCK | 0o666, linux.S_IFREG | 0o4755, linux.S_IFDIR | 0o700, 0x3000}[in.pick(5)]
		if w.byName && mode&linux.S_IFMT == linux.S_IFSOCK {
			return "socket" // which QEMU cannot make
		}
		return w.plain(fmt.Sprintf("%s %o", name, mode), linux.SYS_MKNODAT, w.root, w.str(w.path, name), mode, 0x1234)
	}},
	{"dup", func(w *world, in input) string {
		return w.installed(w.do(linux.SYS_DUP, w.fd(in)))
	}},
	{"getfl", func(w *world, in input) string { return w.plain("", linux.SYS_FCNTL, w.fd(in), linux.F_GETFL) }},
	{"setfl", func(w *world, in input) string {
		fd, flags := w.fd(in), []uintptr{0, linux.O_APPEND, linux.O_NONBLOCK, linux.O_NOATIME}[in.pick(4)]
		if fd == w.root {
			return "root"
		}
		if w.ninep { // once a file appends, it does at the server
			old, _ := w.do(linux.SYS_FCNTL, fd, linux.F_GETFL)
			flags |= old & linux.O_APPEND
		}
		return w.plain(fmt.Sprint(flags), linux.SYS_FCNTL, fd, linux.F_SETFL, flags)
	}},
	{"copy_file_range", func(w *world, in input) string {
		a, b, n := w.fd(in), w.fd(in), lengths[in.pick(len(lengths))]
		w.nums[0], w.nums[1] = in.off(), in.off()
		pa, pb := at(&w.nums[0]), at(&w.nums[1])
		if in.pick(2) == 0 {
			pa = 0
		}
		if in.pick(2) == 0 {
			pb = 0
		}
		s := w.plain(fmt.Sprint(n, w.nums[:2]), linux.SYS_COPY_FILE_RANGE, a, pa, b, pb, uintptr(n), 0)
		return s + fmt.Sprint(w.nums[:2])
	}},
	{"sendfile", func(w *world, in input) string {
		// Linux sets the access time even when there was nothing to read.
		a, b, n := w.fd(in), w.fd(in), lengths[1+in.pick(len(lengths)-1)]
		w.nums[0] = in.off()
		p := at(&w.nums[0])
		if in.pick(2) == 0 {
			p = 0
		}
		if in, out := w.inode(a), w.inode(b); in.Ino == out.Ino || out.Mode&linux.S_IFMT == linux.S_IFDIR {
			return "to itself or from a directory"
		}
		return w.plain(fmt.Sprint(n, w.nums[0]), linux.SYS_SENDFILE, a, b, p, uintptr(n)) + fmt.Sprint(w.nums[:1])
	}},
	{"flock", func(w *world, in input) string {
		fd, op := w.fd(in), []uintptr{1, 2, 8, 2, 16}[in.pick(5)]
		return w.plain(fmt.Sprint(op), linux.SYS_FLOCK, fd, op|linux.LOCK_NB)
	}},
	{"lock", func(w *world, in input) string {
		fd := w.fd(in)
		cmd := []int{linux.F_SETLK, linux.F_OFD_SETLK, linux.F_OFD_SETLK, linux.F_GETLK, linux.F_OFD_GETLK}[in.pick(5)]
		l := &linux.Flock{Type: int16(in.pick(4)), Whence: int16(in.pick(4)), Start: int64(in.pick(20)) - 2, Len: int64(in.pick(20)) - 4}
		if (cmd == linux.F_GETLK || cmd == linux.F_OFD_GETLK) && l.Type == linux.F_UNLCK {
			l.Type = linux.F_WRLCK
		}
		if w.inode(fd).Mode&linux.S_IFMT == linux.S_IFDIR {
			return "directory" // whose offset is the kernel's own affair
		}
		s := w.plain(fmt.Sprint(cmd, *l), linux.SYS_FCNTL, fd, uintptr(cmd), at(l))
		if l.PID > 0 {
			l.PID = 1
		}
		return s + fmt.Sprint(" ", *l)
	}},
	{"readv", func(w *world, in input) string {
		v := &[3]linux.Iovec{{Base: at(&w.data[0]), Len: 10}, {Base: 0, Len: 0}, {Base: at(&w.data[100]), Len: uint64(in.next())}}
		n, errno := w.do(linux.SYS_READV, w.fd(in), at(v), 3)
		return fmt.Sprintf("%s %x", result(n, errno), w.data[:min(n, 10)])
	}},
	{"writev", func(w *world, in input) string {
		fillPattern(w.data[:400], in.next())
		v := &[3]linux.Iovec{{Base: at(&w.data[0]), Len: 10}, {Base: 0, Len: 0}, {Base: at(&w.data[100]), Len: uint64(in.next())}}
		return w.plain("", linux.SYS_WRITEV, w.fd(in), at(v), 3)
	}},
	{"pwritev", func(w *world, in input) string {
		fillPattern(w.data[:400], in.next())
		v := &[2]linux.Iovec{{Base: at(&w.data[0]), Len: 10}, {Base: at(&w.data[100]), Len: uint64(in.next())}}
		off := in.off()
		return w.plain(fmt.Sprint(off), linux.SYS_PWRITEV, w.fd(in), at(v), 2, uintptr(off))
	}},
	{"fsetxattr", func(w *world, in input) string {
		key := []string{"user.x", "user.y", "trusted.z", "user.", "bogus", ""}[in.pick(6)]
		fillPattern(w.data[:40], in.next())
		return w.plain(key, linux.SYS_FSETXATTR, w.fd(in), w.str(w.path2, key), at(w.data), uintptr(in.pick(30)), uintptr(in.pick(4)))
	}},
	{"fgetxattr", func(w *world, in input) string {
		key := []string{"user.x", "user.y", "trusted.z", "user.", "bogus", ""}[in.pick(6)]
		n, errno := w.do(linux.SYS_FGETXATTR, w.fd(in), w.str(w.path2, key), at(w.data), uintptr(in.pick(30)))
		return key + " " + result(n, errno)
	}},
	{"fremovexattr", func(w *world, in input) string {
		key := []string{"user.x", "user.y", "trusted.z"}[in.pick(3)]
		return w.plain(key, linux.SYS_FREMOVEXATTR, w.fd(in), w.str(w.path2, key))
	}},
	{"fsync", func(w *world, in input) string { return w.plain("", linux.SYS_FSYNC, w.fd(in)) }},
	{"fadvise", func(w *world, in input) string {
		return w.plain("", linux.SYS_FADVISE64, w.fd(in), uintptr(in.off()), uintptr(in.off()), uintptr(in.pick(8)))
	}},
	{"at fd", func(w *world, in input) string {
		fd, name := w.fd(in), in.name()
		_, errno := w.do(linux.SYS_NEWFSTATAT, fd, w.str(w.path, name), at(w.st), linux.AT_EMPTY_PATH)
		return name + " " + w.stat(0, errno)
	}},
}

func opOpen(w *world, in input) string {
	name, flags := in.name(), openFlagSets[in.pick(len(openFlagSets))]
	if w.ninep && flags&linux.O_TMPFILE == linux.O_TMPFILE {
		return "temporary"
	}
	r, errno := w.do(linux.SYS_OPENAT, w.root, w.str(w.path, name), uintptr(flags), 0o666)
	return fmt.Sprintf("%q %#x = %s", name, flags, w.installed(r, errno))
}

// installed adds a new descriptor to the list. The log has its place there, as numbers
// differ.
func (w *world) installed(fd uintptr, errno linux.Errno) string {
	if errno != 0 {
		return errno.Name()
	}
	if len(w.fds) >= 8 {
		w.do(linux.SYS_CLOSE, fd)
		return "full"
	}
	w.fds = append(w.fds, fd)
	return fmt.Sprint("fd", len(w.fds)-1)
}

func fillPattern(p []byte, seed byte) {
	for i := range p {
		p[i] = seed + byte(i) + byte(i>>8)
	}
}

func opWrite(w *world, in input) string {
	fd, n := w.fd(in), lengths[in.pick(len(lengths))]
	fillPattern(w.data[:n], in.next())
	return w.plain(fmt.Sprint(n), linux.SYS_WRITE, fd, at(w.data), uintptr(n))
}

func (w *world) data_(num int, i byte, n int, off int64) string {
	clear(w.data[:])
	r, errno := w.do(num, w.fd(input{&[]byte{i}}), at(w.data), uintptr(n), uintptr(off))
	if errno != 0 {
		return errno.Name()
	}
	sum := uint32(0)
	for _, b := range w.data[:r] {
		sum = sum*31 + uint32(b)
	}
	return fmt.Sprintf("%d %d at %d = %d, %x", i, n, off, r, sum)
}

func opStat(w *world, in input) string {
	name, flags := in.name(), uintptr(in.pick(2))*linux.AT_SYMLINK_NOFOLLOW
	r, errno := w.do(linux.SYS_NEWFSTATAT, w.root, w.str(w.path, name), at(w.st), flags)
	return name + " " + w.stat(r, errno)
}

func opMkdir(w *world, in input) string {
	name := in.name()
	return w.plain(name, linux.SYS_MKDIRAT, w.root, w.str(w.path, name), 0o3777)
}

func opRename(w *world, in input) string {
	from, to, flags := in.name(), in.name(), []uintptr{0, 0, 0, 1, 2, 2, 3, 6, 8}[in.pick(9)]
	if w.ninep && flags == linux.RENAME_EXCHANGE {
		flags = 0
	}
	return w.plain(fmt.Sprint(from, " ", to, " ", flags), linux.SYS_RENAMEAT2, w.root, w.str(w.path, from), w.root, w.str(w.path2, to), flags)
}

func (w *world) inode(fd uintptr) linux.Stat {
	*w.st = linux.Stat{}
	w.do(linux.SYS_FSTAT, fd, at(w.st))
	return *w.st
}

// atCwd is AT_FDCWD as an argument.
const atCwd = ^uintptr(-(linux.AT_FDCWD + 1))
