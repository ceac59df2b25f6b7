package machine

import (
	"sync"

	"github.com/pith-os/pith/libos/dev"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/block"
)

// disk is a disk. Its device starts at the first open.
type disk struct {
	t     virtio.Transport
	once  sync.Once
	disk  *block.Disk
	errno linux.Errno
}

// Disks have the first major number that is free on Linux, and minor numbers with room
// for partitions.
const (
	diskMajor  = 254
	diskMinors = 16
)

// addDisks adds the disks to /dev: vda and so on.
func addDisks(devices []virtio.Transport) {
	for i, t := range devices {
		d := &disk{t: t}
		dev.Add(dev.Device{
			Name: "vd" + diskName(i),
			Mode: linux.S_IFBLK | 0o660,
			Rdev: linux.Makedev(diskMajor, uint32(i*diskMinors)),
			Open: d.open,
		})
	}
}

// diskName counts a, b, … z, aa, ab, …
func diskName(i int) string {
	name := ""
	for ; i >= 0; i = i/26 - 1 {
		name = string(rune('a'+i%26)) + name
	}
	return name
}

func (d *disk) open(entry *vfs.Dentry, _ uint32) (dev.File, linux.Errno) {
	d.once.Do(func() {
		if d.disk, d.errno = block.Open(d.t); d.errno != 0 {
			warn("disk " + d.t.Name() + ": " + d.errno.Name())
		}
	})
	if d.errno != 0 {
		return nil, d.errno
	}
	return block.NewFile(d.disk, entry), 0
}
