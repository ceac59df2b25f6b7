package sys

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	_ "github.com/pith-os/pith/libos/vfs/rootfs" // the root of the tree
	"github.com/pith-os/pith/libos/wait"
)

func init() {
	Register(linux.SYS_OPENAT, func(a *Args) (uintptr, linux.Errno) {
		return open(a.A0, a.A1, uint32(a.A2), uint32(a.A3))
	})
	Register(linux.SYS_UMASK, func(a *Args) (uintptr, linux.Errno) {
		return uintptr(umask.Swap(uint32(a.A0) & 0o777)), 0
	})
}

func registerMoreOpens() {
	Register(linux.SYS_OPEN, func(a *Args) (uintptr, linux.Errno) {
		return open(atCwd, a.A0, uint32(a.A1), uint32(a.A2))
	})
	Register(linux.SYS_CREAT, func(a *Args) (uintptr, linux.Errno) {
		return open(atCwd, a.A0, linux.O_CREAT|linux.O_WRONLY|linux.O_TRUNC, uint32(a.A1))
	})
	Register(linux.SYS_OPENAT2, openat2)
}

// umask is the file mode creation mask.
var umask atomic.Uint32

func init() { umask.Store(0o022) }

// atCwd is linux.AT_FDCWD as an argument.
const atCwd = ^uintptr(-(linux.AT_FDCWD + 1))

// place is what a directory descriptor and the path at addr name: where to
// begin, and the path.
func place(dirfd, addr uintptr) (*vfs.Dentry, string, linux.Errno) {
	path, errno := Path(addr)
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
	if fdOf(dirfd) == linux.AT_FDCWD {
		return vfs.Cwd(), 0
	}
	f, errno := opened(dirfd)
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

func open(dirfd, addr uintptr, flags, mode uint32) (uintptr, linux.Errno) {
	at, path, errno := place(dirfd, addr)
	if errno != 0 {
		return 0, errno
	}
	f, errno := vfs.Open(at, path, flags, mode&^umask.Load())
	if errno != 0 {
		return 0, errno
	}
	return installOpened(f, flags)
}

// installOpened gives a file its descriptor when open(2) may return: for a
// FIFO, when its other end is there.
func installOpened(f file.File, flags uint32) (uintptr, linux.Errno) {
	if c, ok := f.(vfs.Connecter); ok {
		_, errno := Block(f, wait.In|wait.Out|wait.Hup, -1, func() (uintptr, linux.Errno) {
			return 0, c.Connected()
		})
		if errno != 0 {
			f.Release()
			return 0, errno
		}
	}
	return install(f, flags)
}

// openFlags are the flags that openat2(2) knows; open(2) ignores others.
const openFlags = linux.O_ACCMODE | linux.O_CREAT | linux.O_EXCL | linux.O_NOCTTY | linux.O_TRUNC |
	linux.O_APPEND | linux.O_NONBLOCK | linux.O_SYNC | linux.O_DIRECT | linux.O_LARGEFILE |
	linux.O_DIRECTORY | linux.O_NOFOLLOW | linux.O_NOATIME | linux.O_CLOEXEC | linux.O_PATH | linux.O_TMPFILE

func openat2(a *Args) (uintptr, linux.Errno) {
	if a.A3 < linux.OpenHowSize {
		return 0, linux.EINVAL
	}
	how, errno := At[linux.OpenHow](a.A2)
	if errno != 0 {
		return 0, errno
	}
	extra, errno := Bytes(a.A2+linux.OpenHowSize, a.A3-linux.OpenHowSize)
	if errno != 0 {
		return 0, errno
	}
	for _, b := range extra {
		if b != 0 {
			return 0, linux.E2BIG
		}
	}
	creates := how.Flags&(linux.O_CREAT|linux.O_TMPFILE&^linux.O_DIRECTORY) != 0
	if how.Flags&^openFlags != 0 || how.Resolve&^uint64(vfs.ResolveMask) != 0 ||
		how.Mode&^0o7777 != 0 || how.Mode != 0 && !creates {
		return 0, linux.EINVAL
	}
	path, errno := Path(a.A1)
	if errno != 0 {
		return 0, errno
	}
	resolve := vfs.Resolve(how.Resolve)
	from := path
	if resolve&vfs.ResolveInRoot != 0 {
		from = "." // an absolute path begins at the descriptor, too
	}
	at, errno := base(a.A0, from)
	if errno != 0 {
		return 0, errno
	}
	flags := uint32(how.Flags)
	f, errno := vfs.OpenResolve(at, path, flags, uint32(how.Mode)&^umask.Load(), resolve)
	if errno != 0 {
		return 0, errno
	}
	return installOpened(f, flags)
}
