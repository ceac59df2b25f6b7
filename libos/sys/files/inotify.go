package files

import (
	"github.com/pith-os/pith/libos/inotify"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/vfs"
)

func inotifyInit(flags uint32) (uintptr, linux.Errno) {
	if flags&^(linux.O_NONBLOCK|linux.O_CLOEXEC) != 0 {
		return 0, linux.EINVAL
	}
	in, errno := inotify.New(flags)
	if errno != 0 {
		return 0, errno
	}
	return call.Install(in, flags)
}

// inotifyOf returns the inotify instance of a descriptor.
func inotifyOf(fd uintptr) (*inotify.Instance, linux.Errno) {
	f, errno := call.File(fd)
	if errno != 0 {
		return nil, errno
	}
	if in, ok := f.(*inotify.Instance); ok {
		return in, 0
	}
	return nil, linux.EINVAL
}

func inotifyAddWatch(a *call.Args) (uintptr, linux.Errno) {
	mask := uint32(a.A2)
	if !inotify.ValidMask(mask) {
		return 0, linux.EINVAL
	}
	in, errno := inotifyOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	path, errno := call.Path(a.A1)
	if errno != 0 {
		return 0, errno
	}
	d, errno := vfs.Walk(vfs.Cwd(), path, mask&linux.IN_DONT_FOLLOW == 0)
	if errno != 0 {
		return 0, errno
	}
	if _, dir := d.Inode().(vfs.Dir); !dir && mask&linux.IN_ONLYDIR != 0 {
		return 0, linux.ENOTDIR
	}
	if errno := d.May(vfs.Read); errno != 0 {
		return 0, errno
	}
	wd, errno := in.Add(d.Inode(), mask)
	return uintptr(wd), errno
}

func inotifyRmWatch(a *call.Args) (uintptr, linux.Errno) {
	in, errno := inotifyOf(a.A0)
	if errno != 0 {
		return 0, errno
	}
	return 0, in.Remove(int32(a.A1))
}
