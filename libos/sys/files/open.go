package files

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
	_ "github.com/pith-os/pith/libos/vfs/rootfs" // the root of the tree
	"github.com/pith-os/pith/libos/wait"
)

func open(dirfd, addr uintptr, flags, mode uint32) (uintptr, linux.Errno) {
	at, path, errno := place(dirfd, addr)
	if errno != 0 {
		return 0, errno
	}
	f, errno := vfs.Open(at, path, flags, mode&^call.Umask.Load())
	if errno != 0 {
		return 0, errno
	}
	return installOpened(f, flags)
}

// installOpened gives a file its descriptor when open(2) may return: for a FIFO, when
// its other end is open.
func installOpened(f file.File, flags uint32) (uintptr, linux.Errno) {
	if c, ok := f.(vfs.Connecter); ok {
		_, errno := call.Block(f, wait.In|wait.Out|wait.Hup, -1, func() (uintptr, linux.Errno) {
			return 0, c.Connected()
		})
		if errno != 0 {
			f.Release()
			return 0, errno
		}
	}
	return call.Install(f, flags)
}

// openFlags are the flags that openat2(2) knows. open(2) ignores all others.
const openFlags = linux.O_ACCMODE | linux.O_CREAT | linux.O_EXCL | linux.O_NOCTTY | linux.O_TRUNC |
	linux.O_APPEND | linux.O_NONBLOCK | linux.O_SYNC | linux.O_DIRECT | linux.O_LARGEFILE |
	linux.O_DIRECTORY | linux.O_NOFOLLOW | linux.O_NOATIME | linux.O_CLOEXEC | linux.O_PATH | linux.O_TMPFILE

func openat2(a *call.Args) (uintptr, linux.Errno) {
	if a.A3 < linux.OpenHowSize {
		return 0, linux.EINVAL
	}
	how, errno := call.At[linux.OpenHow](a.A2)
	if errno != 0 {
		return 0, errno
	}
	extra, errno := call.Bytes(a.A2+linux.OpenHowSize, a.A3-linux.OpenHowSize)
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
	path, errno := call.Path(a.A1)
	if errno != 0 {
		return 0, errno
	}
	resolve := vfs.Resolve(how.Resolve)
	from := path
	if resolve&vfs.ResolveInRoot != 0 {
		from = "." // an absolute path begins at the descriptor as well
	}
	at, errno := base(a.A0, from)
	if errno != 0 {
		return 0, errno
	}
	flags := uint32(how.Flags)
	f, errno := vfs.OpenResolve(at, path, flags, uint32(how.Mode)&^call.Umask.Load(), resolve)
	if errno != 0 {
		return 0, errno
	}
	return installOpened(f, flags)
}
