package files

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

// movePages answers splice(2), tee(2) and vmsplice(2): pages do not change hands
// here. Packages os and net copy through a buffer after this error.
func movePages(*call.Args) (uintptr, linux.Errno) { return 0, linux.EINVAL }

// copyBuffer is the most that is copied at a time, in bytes.
const copyBuffer = 128 << 10

// source reads a file at the file's own offset or at one that the caller keeps.
type source struct {
	f   file.File
	off *int64 // nil: the file's
}

func newSource(f file.File, offAddr uintptr) (source, linux.Errno) {
	if offAddr == 0 {
		return source{f: f}, 0
	}
	off, errno := call.At[int64](offAddr)
	return source{f, off}, errno
}

// position returns the offset of the next read.
func (s source) position() (int64, linux.Errno) {
	if s.off != nil {
		return *s.off, 0
	}
	return s.f.Lseek(0, linux.SEEK_CUR)
}

// advance sets the offset of the next read to to.
func (s source) advance(to int64) linux.Errno {
	if s.off != nil {
		*s.off = to
		return 0
	}
	_, errno := s.f.Lseek(to, linux.SEEK_SET)
	return errno
}

// copyTo passes up to n bytes from s to write, which may take less. It advances s by
// what write took.
func (s source) copyTo(n int64, write func(p []byte) (uintptr, linux.Errno)) (uintptr, linux.Errno) {
	from, errno := s.position()
	if errno != 0 {
		return 0, errno
	}
	buf := make([]byte, min(n, copyBuffer))
	total := int64(0)
	for total < n {
		got, errno := s.f.Pread(buf[:min(n-total, copyBuffer)], from+total)
		if errno == 0 && got > 0 {
			var put uintptr
			put, errno = write(buf[:got])
			total += int64(put)
			if errno == 0 && int(put) < got {
				break
			}
		}
		if errno != 0 && total == 0 {
			return 0, errno
		}
		if errno != 0 || got == 0 {
			break
		}
	}
	return uintptr(total), s.advance(from + total)
}

// sendfile is sendfile(2): from a file with an offset to any file. With an offset
// pointer the file's own offset does not change.
func sendfile(a *call.Args) (uintptr, linux.Errno) {
	in, errno := call.File(a.A1)
	if errno != 0 || vfs.IsPath(in) || in.Flags()&linux.O_ACCMODE == linux.O_WRONLY {
		return 0, linux.EBADF
	}
	stream := isStream(in)
	if stream && a.A2 != 0 {
		return 0, linux.ESPIPE
	}
	src, errno := newSource(in, a.A2)
	if errno == 0 && src.off != nil && *src.off < 0 {
		errno = linux.EINVAL
	}
	if errno != 0 {
		return 0, errno
	}
	out, errno := call.File(a.A0)
	if errno != 0 || vfs.IsPath(out) || out.Flags()&linux.O_ACCMODE == linux.O_RDONLY {
		return 0, linux.EBADF
	}
	if _, ok := in.(*vfs.DirFile); out.Flags()&linux.O_APPEND != 0 || stream || ok && a.A3 > 0 {
		return 0, linux.EINVAL
	}
	n := min(a.A3, linux.MAX_RW_COUNT)
	return src.copyTo(int64(n), func(p []byte) (uintptr, linux.Errno) { return writeFile(out, p) })
}

// copyFileRange is copy_file_range(2), between regular files.
func copyFileRange(a *call.Args) (uintptr, linux.Errno) {
	in, errno := call.File(a.A0)
	if errno != 0 {
		return 0, errno
	}
	out, errno := call.File(a.A2)
	if errno != 0 {
		return 0, errno
	}
	if a.A5 != 0 {
		return 0, linux.EINVAL
	}
	if errno := copyable(in, out); errno != 0 {
		return 0, errno
	}
	src, errno := newSource(in, a.A1)
	if errno != 0 {
		return 0, errno
	}
	dst, errno := newSource(out, a.A3)
	if errno != 0 {
		return 0, errno
	}
	from, _ := src.position()
	to, _ := dst.position()
	switch {
	case wraps(from, a.A4) || wraps(to, a.A4):
		return 0, linux.EOVERFLOW
	case from < 0 || to < 0:
		return 0, linux.EINVAL
	}
	n, errno := fileLeft(in, from, int64(min(a.A4, linux.MAX_RW_COUNT)))
	if errno != 0 {
		return 0, errno
	}
	if sameFile(in, out) && from < to+n && to < from+n {
		return 0, linux.EINVAL
	}
	done := int64(0)
	total, errno := src.copyTo(n, func(p []byte) (uintptr, linux.Errno) {
		put, errno := out.Pwrite(p, to+done)
		done += int64(put)
		return uintptr(put), errno
	})
	if errno != 0 {
		return 0, errno
	}
	return total, dst.advance(to + done)
}

// copyable checks whether copy_file_range(2) may copy from in to out.
func copyable(in, out file.File) linux.Errno {
	var from, to linux.Stat
	if vfs.IsPath(in) || vfs.IsPath(out) {
		return linux.EBADF
	}
	if in.Stat(&from) != 0 || out.Stat(&to) != 0 {
		return linux.EINVAL
	}
	a, b := from.Mode&linux.S_IFMT, to.Mode&linux.S_IFMT
	switch {
	case a == linux.S_IFDIR || b == linux.S_IFDIR:
		return linux.EISDIR
	case a != linux.S_IFREG || b != linux.S_IFREG:
		return linux.EINVAL
	case in.Flags()&linux.O_ACCMODE == linux.O_WRONLY, out.Flags()&linux.O_ACCMODE == linux.O_RDONLY,
		out.Flags()&linux.O_APPEND != 0:
		return linux.EBADF
	}
	return 0
}

// wraps reports whether off+n overflows as an unsigned number. Negative offsets are
// the largest ones.
func wraps(off int64, n uintptr) bool { return uint64(off)+uint64(n) < uint64(off) }

// fileLeft returns how many of the n bytes from off the file has.
func fileLeft(f file.File, off, n int64) (int64, linux.Errno) {
	var st linux.Stat
	errno := f.Stat(&st)
	return max(0, min(n, st.Size-off)), errno
}

func sameFile(a, b file.File) bool {
	x, y := vfs.DentryOf(a), vfs.DentryOf(b)
	return x != nil && y != nil && x.Inode() == y.Inode()
}
