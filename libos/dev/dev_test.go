package dev

import (
	"testing"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	"github.com/pith-os/pith/libos/vfs/memfs"

	"golang.org/x/sys/unix"
)

func init() {
	vfs.AddMount("rootfs", "/", "rw", func() vfs.Inode { return memfs.New(0).Root() })
}

func open(t testing.TB, path string, flags uint32) file.File {
	t.Helper()
	f, errno := vfs.Open(vfs.Root(), path, flags, 0)
	if errno != 0 {
		t.Fatalf("open %s: %s", path, errno.Name())
	}
	return f
}

// TestDevicesAreThoseOfLinux makes the same calls on ours and on the host's
// devices.
func TestDevicesAreThoseOfLinux(t *testing.T) {
	for _, path := range []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"} {
		for _, flags := range []uint32{linux.O_RDONLY, linux.O_WRONLY, linux.O_RDWR} {
			fd, err := unix.Open(path, int(flags)|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Skipf("opening the host's %s: %v", path, err)
			}
			defer unix.Close(fd)
			f := open(t, path, flags)
			calls := []struct {
				name   string
				ours   func() (int, linux.Errno)
				theirs func() (int, error)
			}{
				{"read", func() (int, linux.Errno) { return f.Read(make([]byte, 8)) },
					func() (int, error) { return unix.Read(fd, make([]byte, 8)) }},
				{"pread", func() (int, linux.Errno) { return f.Pread(make([]byte, 8), 5) },
					func() (int, error) { return unix.Pread(fd, make([]byte, 8), 5) }},
				{"write", func() (int, linux.Errno) { return f.Write(make([]byte, 8)) },
					func() (int, error) { return unix.Write(fd, make([]byte, 8)) }},
				{"pwrite", func() (int, linux.Errno) { return f.Pwrite(make([]byte, 8), 5) },
					func() (int, error) { return unix.Pwrite(fd, make([]byte, 8), 5) }},
				{"fsync", func() (int, linux.Errno) { return 0, f.Sync() },
					func() (int, error) { return 0, unix.Fsync(fd) }},
				{"ftruncate", func() (int, linux.Errno) { return 0, f.Truncate(0) },
					func() (int, error) { return 0, unix.Ftruncate(fd, 0) }},
				{"lseek", func() (int, linux.Errno) { off, errno := f.Lseek(7, linux.SEEK_SET); return int(off), errno },
					func() (int, error) { off, err := unix.Seek(fd, 7, unix.SEEK_SET); return int(off), err }},
			}
			for _, c := range calls {
				n, errno := c.ours()
				m, err := c.theirs()
				want := linux.Errno(0)
				if err != nil {
					m, want = 0, linux.Errno(err.(unix.Errno))
				}
				if n != m || errno != want {
					t.Errorf("%s flags %d: %s: %d, %q; Linux: %d, %q", path, flags, c.name, n, errno.Name(), m, want.Name())
				}
			}
			var ours linux.Stat
			var theirs unix.Stat_t
			f.Stat(&ours)
			if err := unix.Fstat(fd, &theirs); err != nil {
				t.Fatal(err)
			}
			if ours.Mode != theirs.Mode || ours.Rdev != theirs.Rdev {
				t.Errorf("%s: mode %o rdev %#x; Linux: %o %#x", path, ours.Mode, ours.Rdev, theirs.Mode, theirs.Rdev)
			}
			f.Release()
		}
	}
}

func TestZeroReadsZerosAndRandomDoesNot(t *testing.T) {
	for path, zeros := range map[string]bool{"/dev/zero": true, "/dev/full": true, "/dev/urandom": false} {
		p := make([]byte, 64)
		for i := range p {
			p[i] = byte(i)
		}
		before := string(p)
		if n, errno := open(t, path, linux.O_RDONLY).Read(p); n != 64 || errno != 0 {
			t.Fatalf("reading 64 bytes of %s returned %d, %s", path, n, errno.Name())
		}
		if (string(p) == string(make([]byte, 64))) != zeros || string(p) == before {
			t.Errorf("%s reads as % x", path, p)
		}
	}
}

func TestLinksLeadToTheStandardDescriptors(t *testing.T) {
	for name, want := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stderr": "/proc/self/fd/2"} {
		d, errno := vfs.Walk(vfs.Root(), "/dev/"+name, false)
		if errno != 0 {
			t.Fatalf("%s: %s", name, errno.Name())
		}
		if got, _ := d.Inode().(vfs.Symlink).Readlink(); got != want {
			t.Errorf("%s -> %s, want %s", name, got, want)
		}
	}
}

func TestSharedMemoryIsAPlaceForFiles(t *testing.T) {
	f := open(t, "/dev/shm/x", linux.O_RDWR|linux.O_CREAT)
	if n, errno := f.Write([]byte("abc")); n != 3 || errno != 0 {
		t.Errorf("write: %d, %s", n, errno.Name())
	}
	d, errno := vfs.Walk(vfs.Root(), "/dev/shm", true)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var st linux.Stat
	if d.Inode().Stat(&st); st.Mode != linux.S_IFDIR|linux.S_ISVTX|0o777 {
		t.Errorf("/dev/shm has mode %o", st.Mode)
	}
}

func TestReadingZeroDoesNotAllocate(t *testing.T) {
	f := open(t, "/dev/zero", linux.O_RDONLY)
	p := make([]byte, 64)
	if n := testing.AllocsPerRun(100, func() { f.Read(p) }); n != 0 {
		t.Errorf("a read of /dev/zero makes %v allocations", n)
	}
}
