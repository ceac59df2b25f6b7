package block

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, make func(path string) error) string {
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	odd := at("odd", func(path string) error { return os.WriteFile(path, make([]byte, 1000), 0o600) })
	written := file(t, 1<<20)
	backend(t, written, false)
	read := file(t, 1<<20)
	backend(t, read, true)
	for _, test := range []struct {
		name, path string
		readOnly   bool
		want       string
	}{
		{"a missing file", filepath.Join(dir, "none"), false, "no such file"},
		{"a directory", dir, true, "neither a regular file nor a block device"},
		{"a character device", "/dev/null", true, "neither a regular file nor a block device"},
		{"a FIFO", at("fifo", func(path string) error { return unix.Mkfifo(path, 0o600) }), true, "neither a regular file nor a block device"},
		{"a socket", at("socket", func(path string) error {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Close(fd))
		}), true, "no such device"},
		{"an empty file", at("empty", func(path string) error { return os.WriteFile(path, nil, 0o600) }), false, "it is empty"},
		{"an incomplete sector", odd, false, "not a multiple of 512"},
		{"a disk that is in use for writing", written, false, "uses it, so it cannot be written"},
		{"a disk that is in use for writing, opened to read", written, true, "writes it"},
		{"a disk that is in use for reading, opened to write", read, false, "uses it, so it cannot be written"},
	} {
		b, err := Open(test.path, test.readOnly)
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
	backend(t, read, true) // several readers can share it
}

func TestCloseReleasesTheLock(t *testing.T) {
	path := file(t, 1<<20)
	for range 2 {
		b, err := Open(path, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenOfAReadOnlyFileSuggestsRo(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can write every file")
	}
	path := file(t, 1<<20)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, false); err == nil || !strings.Contains(err.Error(), ":ro") {
		t.Errorf("%v; want the hint :ro", err)
	}
	backend(t, path, true)
}

// mount mounts a tmpfs and returns its directory. size is a mount option, such
// as "1m".
func mount(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("the test needs a file system of its own: mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// sparse makes a file of size bytes that uses no disk space.
func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
}

func TestFullFileSystem(t *testing.T) {
	path := filepath.Join(mount(t, "1m"), "disk.img")
	sparse(t, path, 4<<20)
	var report atomic.Value
	m := newFixture(t, backend(t, path, false), Options{Report: func(err error) { report.Store(err) }}, allFeatures)
	failed := -1
	for i := range 4 << 20 / slot {
		if s := m.do(typeOut, uint64(i*slot/sector), data(0, slot)); s == statusError {
			failed = i
			break
		}
	}
	if failed != 1<<20/slot {
		t.Errorf("write %d failed", failed)
	}
	if err, _ := report.Load().(error); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "disk.img") {
		t.Errorf("reported %v", err)
	}
	if s := m.do(typeIn, 0, data(0, slot)); s != statusOK {
		t.Errorf("read: status %d", s)
	}
	// A discard frees space.
	if s := m.rangeOf(typeDiscard, 0, slot/sector, 0); s != statusOK {
		t.Errorf("discard: status %d", s)
	}
	if s := m.do(typeOut, uint64(failed*slot/sector), data(0, slot)); s != statusOK {
		t.Errorf("write after the discard: status %d", s)
	}
	// tmpfs cannot zero a range in place. It can only punch holes.
	if s := m.rangeOf(typeWriteZeroes, 0, 8, 0); s != statusUnsupported {
		t.Errorf("write zeroes: status %d", s)
	}
	if s := m.rangeOf(typeWriteZeroes, 0, 8, flagUnmap); s != statusOK {
		t.Errorf("write zeroes with unmap: status %d", s)
	}
}

// TestFileSizeLimit sets RLIMIT_FSIZE. The signal SIGXFSZ must not end the
// process.
func TestFileSizeLimit(t *testing.T) {
	path := file(t, 8<<20)
	m := newFixture(t, buffered(t, path, false), Options{}, allFeatures)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 4 << 20, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	before, behind := m.do(typeOut, 0, data(0, slot)), m.do(typeOut, 5<<20/sector, data(0, slot))
	across := m.do(typeOut, (4<<20-4096)/sector, data(0, 8192))
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if before != statusOK || behind != statusError || across != statusError {
		t.Errorf("status %d below the limit, %d above it, %d across it", before, behind, across)
	}
}

func TestWriteToAReadOnlyDescriptor(t *testing.T) {
	b := buffered(t, file(t, 1<<20), true)
	b.Info.ReadOnly = false // as if it had become read-only after the open
	m := newFixture(t, b, Options{}, allFeatures)
	for _, r := range []struct {
		name   string
		status byte
		want   byte
	}{
		{"write", m.do(typeOut, 0, data(0, 512)), statusError},
		{"discard", m.rangeOf(typeDiscard, 0, 8, 0), statusError},
		{"zeroes", m.rangeOf(typeWriteZeroes, 0, 8, 0), statusError},
		{"read", m.do(typeIn, 0, data(0, 512)), statusOK},
	} {
		if r.status != r.want {
			t.Errorf("%s: status %d, want %d", r.name, r.status, r.want)
		}
	}
}

// loop returns a loop device for the file at path.
func loop(t *testing.T, path string, options ...string) string {
	t.Helper()
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

func TestBlockDevice(t *testing.T) {
	for _, size := range []int{512, 4096} {
		dev := loop(t, file(t, 4<<20), "--sector-size", map[int]string{512: "512", 4096: "4096"}[size])
		b := backend(t, dev, false)
		if b.Info.Size != 4<<20 || b.Info.BlockSize != size || !b.Info.Direct {
			t.Errorf("%+v", b.Info)
		}
		if _, err := Open(dev, false); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a second open: %v", err)
		}
		m := newFixture(t, b, Options{}, allFeatures)
		fill(m.bytes(dataAt, slot), 3)
		part := byte(statusOK)
		if size > 512 {
			part = statusError
		}
		for _, r := range []struct {
			name   string
			status byte
			want   byte
		}{
			{"write", m.do(typeOut, 8, data(0, slot)), statusOK},
			{"flush", m.do(typeFlush, 0), statusOK},
			{"read", m.do(typeIn, 8, data(1, slot)), statusOK},
			{"read of a sector", m.do(typeIn, 1, data(2, 512)), part},
			{"discard", m.rangeOf(typeDiscard, 8, 8, 0), statusOK},
			{"zeroes", m.rangeOf(typeWriteZeroes, 16, 8, 0), statusOK},
			{"read again", m.do(typeIn, 8, data(2, slot)), statusOK},
		} {
			if r.status != r.want {
				t.Errorf("blocks of %d, %s: status %d, want %d", size, r.name, r.status, r.want)
			}
		}
		if string(m.bytes(dataAt, slot)) != string(m.bytes(dataAt+slot, slot)) {
			t.Error("the read returned other data than the write stored")
		}
		want := append(make([]byte, 8192), m.bytes(dataAt+8192, slot-8192)...)
		if string(want) != string(m.bytes(dataAt+2*slot, slot)) {
			t.Error("the discarded and zeroed ranges are not zero, or their neighbours changed")
		}
	}
}

func TestBlockDeviceThatVanishes(t *testing.T) {
	path := file(t, 4<<20)
	m := newFixture(t, backend(t, loop(t, path), false), Options{}, allFeatures)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if s := m.do(typeIn, 8, data(0, slot)); s != statusError {
		t.Errorf("read: status %d", s)
	}
}

func TestMountedBlockDevice(t *testing.T) {
	dev := loop(t, file(t, 4<<20))
	if out, err := exec.Command("mkfs.ext4", "-q", dev).CombinedOutput(); err != nil {
		t.Skipf("mkfs.ext4: %v %s", err, out)
	}
	dir := t.TempDir()
	if err := unix.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, err := Open(dev, false); err == nil || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("open: %v; want an error", err)
	}
}

func TestTruncatedFile(t *testing.T) {
	for kind, open := range kinds {
		t.Run(kind, func(t *testing.T) {
			path := file(t, 1<<20)
			var reports atomic.Int32
			m := newFixture(t, open(t, path, false), Options{Report: func(error) { reports.Add(1) }}, allFeatures)
			if err := os.Truncate(path, 64<<10); err != nil {
				t.Fatal(err)
			}
			for _, r := range []struct {
				name string
				typ  uint32
				at   uint64
				want byte
			}{
				{"read before the end", typeIn, 0, statusOK},
				{"read across the end", typeIn, 64<<10/sector - 8, statusError},
				{"read beyond the end", typeIn, 1000, statusError},
				{"write beyond the end", typeOut, 1000, statusOK},
				{"read of the written sectors", typeIn, 1000, statusOK},
			} {
				if s := m.do(r.typ, r.at, data(0, 8192)); s != r.want {
					t.Errorf("%s: status %d, want %d", r.name, s, r.want)
				}
			}
			if n := reports.Load(); n != 1 {
				t.Errorf("%d reports, want 1", n)
			}
		})
	}
}
