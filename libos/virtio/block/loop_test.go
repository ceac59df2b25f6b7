package block

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// loop makes a Linux block device of size bytes. It skips the test where that
// is not allowed.
func loop(t *testing.T, size int64, options ...string) string {
	t.Helper()
	path := t.TempDir() + "/disk"
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", append(options, "--find", "--show", path)...).Output()
	if err != nil {
		t.Skipf("no loop device: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command("losetup", "--detach", dev).Run(); err != nil {
			t.Errorf("losetup --detach %s: %v", dev, err)
		}
	})
	return dev
}

// TestABlockDeviceOfLinuxDoesTheSame makes the same calls on a disk and on a
// loop device.
func TestABlockDeviceOfLinuxDoesTheSame(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name     string
		flags    uint32
		features uint64
		options  []string
	}{
		{"read and write", linux.O_RDWR, 0, nil},
		{"read", linux.O_RDONLY, 0, nil},
		{"write", linux.O_WRONLY, 0, nil},
		{"append", linux.O_RDWR | linux.O_APPEND, 0, nil},
		{"read-only disk", linux.O_RDONLY, featureReadOnly, []string{"--read-only"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := unix.Open(loop(t, size, c.options...), int(c.flags)|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			f := openFile(open(t, newMemory(t, diskConfig{size: size, features: c.features})), c.flags)
			compare(t, f, fd, size)
		})
	}
}

func compare(t *testing.T, f *File, fd int, size int64) {
	p, q := make([]byte, 1000), make([]byte, 1000)
	same := func(name string, n int64, errno linux.Errno, m int64, err error) {
		t.Helper()
		want := linux.Errno(0)
		if err != nil {
			m, want = 0, linux.Errno(err.(unix.Errno))
		}
		if n != m || errno != want {
			t.Errorf("%s: %d, %q; Linux: %d, %q", name, n, errno.Name(), m, want.Name())
		}
	}
	for _, off := range []int64{0, 100, size - 1000, size - 10, size, size + 10} {
		n, errno := f.Pwrite(p, off)
		m, err := unix.Pwrite(fd, q, off)
		same("pwrite", int64(n), errno, int64(m), err)
		n, errno = f.Pread(p, off)
		m, err = unix.Pread(fd, q, off)
		same("pread", int64(n), errno, int64(m), err)
	}
	for _, s := range []struct {
		off    int64
		whence int
	}{{0, unix.SEEK_END}, {10, unix.SEEK_END}, {-10, unix.SEEK_END}, {5, unix.SEEK_CUR}, {100, unix.SEEK_CUR}, {-1, unix.SEEK_SET},
		{0, unix.SEEK_DATA}, {0, unix.SEEK_HOLE}, {size - 100, unix.SEEK_SET}} {
		n, errno := f.Lseek(s.off, s.whence)
		m, err := unix.Seek(fd, s.off, s.whence)
		same("lseek", n, errno, m, err)
	}
	for range 2 {
		n, errno := f.Write(p)
		m, err := unix.Write(fd, q)
		same("write", int64(n), errno, int64(m), err)
	}
	same("fsync", 0, f.Sync(), 0, unix.Fsync(fd))
	same("ftruncate", 0, f.Truncate(0), 0, unix.Ftruncate(fd, 0))
	for _, req := range []uint{blkGetSize64, blkGetSize, blkSectorSize, blkPhysical, blkIOMin, blkIOOpt, blkAlignOff, blkROGet, blkDiscardZero} {
		var ours, theirs uint64
		_, errno := f.Ioctl(req, uintptr(unsafe.Pointer(&ours)))
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(req), uintptr(unsafe.Pointer(&theirs)))
		if ours != theirs || errno != linux.Errno(e) {
			t.Errorf("ioctl %#x: %d, %q; Linux: %d, %q", req, ours, errno.Name(), theirs, linux.Errno(e).Name())
		}
	}
	for _, r := range [][2]uint64{{0, 4096}, {1, 4096}, {0, 100}, {uint64(size), 4096}, {0, uint64(size) + 512}} {
		ours, theirs := r, r
		_, errno := f.Ioctl(blkZeroOut, uintptr(unsafe.Pointer(&ours)))
		_, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), blkZeroOut, uintptr(unsafe.Pointer(&theirs)))
		if errno != linux.Errno(e) {
			t.Errorf("BLKZEROOUT %v: %q; Linux: %q", r, errno.Name(), linux.Errno(e).Name())
		}
	}
}
