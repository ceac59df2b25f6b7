package vsock

import (
	"github.com/pith-os/pith/libos/dev"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/virtio"
)

// AddDevice adds /dev/vsock, which returns the VM's CID (vsock(7)). It must be
// called before the tree of files is first used. It neither starts the device
// nor links sockets into the image.
func AddDevice(t virtio.Transport) {
	dev.Add(dev.Device{
		Name: "vsock", Mode: linux.S_IFCHR | 0o666, Rdev: linux.Makedev(miscMajor, firstDynamic),
		Open: func(d *vfs.Dentry, _ uint32) (dev.File, linux.Errno) {
			return &cidFile{dentry: d, transport: t}, 0
		},
	})
}

// The first dynamic minor number of miscellaneous devices
// (Documentation/admin-guide/devices.txt).
const (
	miscMajor    = 10
	firstDynamic = 256
)

// cidFile is an open /dev/vsock.
type cidFile struct {
	file.Base
	dentry    *vfs.Dentry
	transport virtio.Transport
}

// Dentry implements vfs.Opened.
func (f *cidFile) Dentry() *vfs.Dentry { return f.dentry }

// Stat implements file.File.
func (f *cidFile) Stat(st *linux.Stat) linux.Errno {
	f.dentry.Inode().Stat(st)
	return 0
}

// Release implements file.File.
func (f *cidFile) Release() { f.dentry.Closed(f) }

// Ioctl implements file.File.
func (f *cidFile) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	if req != linux.IOCTL_VM_SOCKETS_GET_LOCAL_CID {
		return 0, linux.ENOTTY
	}
	if arg < platform.PageSize {
		return 0, linux.EFAULT
	}
	cid, ok := configuredCID(f.transport)
	if !ok {
		return 0, linux.EIO
	}
	*(*uint32)(platform.Pointer(arg)) = cid
	return 0, 0
}
