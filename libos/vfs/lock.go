package vfs

import (
	"strconv"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// Closed is called by files in Release: it drops the locks that f holds and
// tells inotify.
func (d *Dentry) Closed(f file.File) {
	mask := uint32(linux.IN_CLOSE_NOWRITE)
	if f.Flags()&linux.O_ACCMODE != linux.O_RDONLY {
		mask = linux.IN_CLOSE_WRITE
	}
	d.Notify(mask)
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }

func inodeNumber(i Inode) uint64 {
	var st linux.Stat
	i.Stat(&st)
	return st.Ino
}
