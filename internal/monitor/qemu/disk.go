package qemu

import (
	"errors"
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/instance"

	"golang.org/x/sys/unix"
)

// disk adds a disk. QEMU gets the open file as a set of descriptors (fdset), which QEMU opens
// by a path of its own. The set has one descriptor for each mode in which QEMU opens the disk.
// QEMU first opens each disk for reading.
func (q *command) disk(i int, d instance.Disk) error {
	modes := []int{os.O_RDONLY, os.O_RDWR}
	if d.ReadOnly {
		modes = modes[:1]
	}
	var info os.FileInfo
	var direct bool
	for _, mode := range modes {
		var f *os.File
		var err error
		if f, direct, err = openDisk(d.Path, mode); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
		q.own = append(q.own, f)
		if info, err = f.Stat(); err != nil {
			return fmt.Errorf("disk: %w", err)
		}
		q.option("-add-fd", fmt.Sprintf("fd=%d", q.inherit(f)), fmt.Sprintf("set=%d", i))
	}
	driver := "file"
	if info.Mode().Type() == os.ModeDevice {
		driver = "host_device"
	}
	id, cache, access := fmt.Sprintf("disk%d", i), "writeback", ""
	if direct {
		cache = "none"
	}
	if d.ReadOnly {
		access = "readonly=on"
	}
	q.option("-drive", "if=none", "id="+id, "format=raw", "file.driver="+driver, fmt.Sprintf("file.filename=/dev/fdset/%d", i),
		"cache="+cache, "discard=unmap", access, limit("bps", d.Rate), limit("iops", d.IOPS))
	q.device("virtio-blk", q.noROM(), "drive="+id)
	return nil
}

// limit returns a property of a drive; empty for no limit.
func limit(what string, n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("throttling.%s-total=%d", what, n)
}

// openDisk opens a disk. It bypasses the host's page cache if the file system can.
func openDisk(path string, mode int) (f *os.File, direct bool, err error) {
	f, err = os.OpenFile(path, mode|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.OpenFile(path, mode, 0)
		return f, false, err
	}
	return f, true, err
}
