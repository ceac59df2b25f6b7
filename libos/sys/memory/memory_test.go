package memory_test

import (
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/mm"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/systest"
)

// folder is a directory of the library OS for a test.
type folder struct {
	t    *testing.T
	root uintptr
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	w := &folder{t: t}
	path := "/tmp/" + t.Name()
	w.must(linux.SYS_MKDIR, name(path), 0o700)
	w.root = w.must(linux.SYS_OPEN, name(path), linux.O_RDONLY|linux.O_DIRECTORY)
	t.Cleanup(func() { w.must(linux.SYS_CLOSE, w.root) })
	return w
}

func name(path string) uintptr { return systest.Addr(unsafe.StringData(path + "\x00")) }

func (w *folder) do(num int, args ...uintptr) (uintptr, linux.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	return sys.Call(uintptr(num), a[0], a[1], a[2], a[3], a[4], a[5])
}

func (w *folder) must(num int, args ...uintptr) uintptr {
	w.t.Helper()
	r, errno := w.do(num, args...)
	if errno != 0 {
		w.t.Fatalf("call %d: %s", num, errno.Name())
	}
	return r
}

func (w *folder) create(path string) uintptr {
	w.t.Helper()
	return w.must(linux.SYS_OPENAT, w.root, name(path), linux.O_RDWR|linux.O_CREAT, 0o600)
}

func (w *folder) writeAt(fd uintptr, s string, off int64) {
	w.t.Helper()
	w.must(linux.SYS_PWRITE64, fd, systest.Addr(unsafe.StringData(s)), uintptr(len(s)), uintptr(off))
}

func (w *folder) readAt(fd uintptr, n int, off int64) string {
	w.t.Helper()
	b := make([]byte, n)
	got := w.must(linux.SYS_PREAD64, fd, systest.Addr(&b[0]), uintptr(n), uintptr(off))
	return string(b[:got])
}

func (w *folder) mapFile(fd uintptr, n, prot, flags int, off int64) uintptr {
	w.t.Helper()
	return w.must(linux.SYS_MMAP, 0, uintptr(n), uintptr(prot), uintptr(flags), fd, uintptr(off))
}

func memory(addr uintptr, n int) []byte {
	return unsafe.Slice((*byte)(platform.Pointer(addr)), n)
}

const (
	rw   = linux.PROT_READ | linux.PROT_WRITE
	page = platform.PageSize
)

func TestSharedMappingIsTheFile(t *testing.T) {
	w := newFolder(t)
	fd := w.create("f")
	w.writeAt(fd, "hello", 0)
	p := w.mapFile(fd, page, rw, linux.MAP_SHARED, 0)
	if got := string(memory(p, 5)); got != "hello" {
		t.Fatalf("mapping has %q", got)
	}
	w.writeAt(fd, "J", 0)
	copy(memory(p, 5)[1:], "uice")
	if got := w.readAt(fd, 10, 0); got != "Juice" || string(memory(p, 5)) != "Juice" {
		t.Errorf("file has %q, mapping %q", got, memory(p, 5))
	}
	w.must(linux.SYS_MSYNC, p, page, linux.MS_SYNC)
	w.must(linux.SYS_MUNMAP, p, page)
	if got := w.readAt(fd, 10, 0); got != "Juice" {
		t.Errorf("after munmap the file has %q", got)
	}
	if _, errno := w.do(linux.SYS_MSYNC, p, page, linux.MS_SYNC); errno != linux.ENOMEM {
		t.Errorf("msync of what is not mapped: %v", errno)
	}
}

// A database maps its file, extends it by writing and maps more of it.
func TestFileGrowsUnderItsMapping(t *testing.T) {
	w := newFolder(t)
	fd := w.create("db")
	w.must(linux.SYS_FTRUNCATE, fd, 8*page)
	first := w.mapFile(fd, 32<<10, linux.PROT_READ, linux.MAP_SHARED, 0)
	for off := int64(0); off < 4<<20; off += page {
		w.writeAt(fd, "page", off)
	}
	if got := string(memory(first+7*page, 4)); got != "page" {
		t.Errorf("old mapping has %q", got)
	}
	w.must(linux.SYS_MADVISE, first, 32<<10, linux.MADV_DONTNEED)
	w.must(linux.SYS_MUNMAP, first, 32<<10)
	second := w.mapFile(fd, 4<<20, linux.PROT_READ, linux.MAP_SHARED, 0)
	if got := string(memory(second+1023*page, 4)); got != "page" {
		t.Errorf("new mapping has %q", got)
	}
	if got := string(memory(second, 4)); got != "page" {
		t.Errorf("advice lost the data: %q", got)
	}
	w.must(linux.SYS_FTRUNCATE, fd, page+1)
	w.must(linux.SYS_FTRUNCATE, fd, 2*page)
	if got := memory(second+page, 4); string(got) != "p\x00\x00\x00" {
		t.Errorf("after truncating: %q", got)
	}
	w.must(linux.SYS_MUNMAP, second, 4<<20)
}

func TestUnmappingPiecesKeepsTheFile(t *testing.T) {
	w := newFolder(t)
	fd := w.create("f")
	for i := range int64(4) {
		w.writeAt(fd, "x", i*page)
	}
	p := w.mapFile(fd, 4*page, rw, linux.MAP_SHARED, 0)
	w.must(linux.SYS_MUNMAP, p+page, page)
	w.do(linux.SYS_UNLINKAT, w.root, name("f"), 0)
	w.must(linux.SYS_CLOSE, fd)
	if memory(p, 1)[0] != 'x' || memory(p+3*page, 1)[0] != 'x' {
		t.Error("the rest of the mapping lost its data")
	}
	n := 0
	for _, m := range mm.All() {
		if m.Start >= p && m.End <= p+4*page {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d pieces in the table, want 2", n)
	}
	w.must(linux.SYS_MUNMAP, p, 4*page)
}

func TestPrivateMappingIsACopy(t *testing.T) {
	w := newFolder(t)
	fd := w.create("f")
	w.writeAt(fd, "hello", 0)
	p := w.mapFile(fd, page, rw, linux.MAP_PRIVATE, 0)
	memory(p, 1)[0] = 'J'
	if got := w.readAt(fd, 5, 0); got != "hello" {
		t.Errorf("file has %q", got)
	}
	w.must(linux.SYS_MUNMAP, p, page)
}

func TestMmapErrors(t *testing.T) {
	w := newFolder(t)
	fd := w.create("f")
	ro := w.must(linux.SYS_OPENAT, w.root, name("f"), linux.O_RDONLY)
	for _, c := range []struct {
		name           string
		n, prot, flags uintptr
		fd, off        uintptr
		want           linux.Errno
	}{
		{"no length", 0, rw, linux.MAP_SHARED, fd, 0, linux.EINVAL},
		{"odd offset", page, rw, linux.MAP_SHARED, fd, 1, linux.EINVAL},
		{"no type", page, rw, 0, fd, 0, linux.EINVAL},
		{"bad descriptor", page, rw, linux.MAP_SHARED, 999, 0, linux.EBADF},
		{"writable map of a read-only file", page, rw, linux.MAP_SHARED, ro, 0, linux.EACCES},
		{"directory", page, linux.PROT_READ, linux.MAP_SHARED, w.root, 0, linux.ENODEV},
		{"executable", page, linux.PROT_READ | linux.PROT_EXEC, linux.MAP_PRIVATE | linux.MAP_ANONYMOUS, ^uintptr(0), 0, linux.EACCES},
		{"too long", 1 << 62, rw, linux.MAP_PRIVATE | linux.MAP_ANONYMOUS, ^uintptr(0), 0, linux.ENOMEM},
	} {
		if _, errno := w.do(linux.SYS_MMAP, 0, c.n, c.prot, c.flags, c.fd, c.off); errno != c.want {
			t.Errorf("%s: %s, want %s", c.name, errno.Name(), c.want.Name())
		}
	}
}

func TestAnonymousMemory(t *testing.T) {
	w := newFolder(t)
	none := ^uintptr(0)
	p := w.must(linux.SYS_MMAP, 0, 8*page, linux.PROT_NONE, linux.MAP_PRIVATE|linux.MAP_ANONYMOUS, none, 0)
	w.must(linux.SYS_MPROTECT, p, 2*page, rw)
	memory(p, 2*page)[page] = 7
	w.must(linux.SYS_MMAP, p+4*page, page, rw, linux.MAP_PRIVATE|linux.MAP_ANONYMOUS|linux.MAP_FIXED, none, 0)
	memory(p+4*page, 1)[0] = 8
	if _, errno := w.do(linux.SYS_MREMAP, p, 2*page, 64*page, 0); errno != linux.ENOMEM {
		t.Errorf("growing in place: %s", errno.Name())
	}
	q := w.must(linux.SYS_MREMAP, p, 2*page, 64*page, linux.MREMAP_MAYMOVE)
	if memory(q, 2*page)[page] != 7 {
		t.Error("mremap lost the data")
	}
	w.must(linux.SYS_MREMAP, q, 64*page, page, 0)
	w.must(linux.SYS_MUNMAP, q, page)
	w.must(linux.SYS_MUNMAP, p, 8*page)
	if _, errno := w.do(linux.SYS_MPROTECT, p, page, rw); errno != linux.ENOMEM {
		t.Errorf("mprotect of what is not mapped: %s", errno.Name())
	}
}

func TestMemfdSeals(t *testing.T) {
	systest.Differ(t, func(t *testing.T, k *systest.Kernel) {
		m := name("m")
		fd := k.FD(t, linux.SYS_MEMFD_CREATE, m, linux.MFD_ALLOW_SEALING)
		k.Write("write", fd, "hello")
		k.Do("seals", linux.SYS_FCNTL, fd, linux.F_GET_SEALS)
		k.Do("seal", linux.SYS_FCNTL, fd, linux.F_ADD_SEALS, linux.F_SEAL_SHRINK|linux.F_SEAL_GROW)
		k.Do("shrink", linux.SYS_FTRUNCATE, fd, 1)
		k.Do("grow", linux.SYS_FTRUNCATE, fd, 100)
		k.Write("write beyond", fd, "more")
		k.Do("seal writing", linux.SYS_FCNTL, fd, linux.F_ADD_SEALS, linux.F_SEAL_WRITE)
		k.Do("overwrite", linux.SYS_PWRITE64, fd, m, 1, 0)
		k.Do("seal", linux.SYS_FCNTL, fd, linux.F_ADD_SEALS, linux.F_SEAL_SEAL)
		k.Do("seal again", linux.SYS_FCNTL, fd, linux.F_ADD_SEALS, linux.F_SEAL_WRITE)
		k.Do("seals", linux.SYS_FCNTL, fd, linux.F_GET_SEALS)
		plain := k.FD(t, linux.SYS_MEMFD_CREATE, m, 0)
		k.Do("seals", linux.SYS_FCNTL, plain, linux.F_GET_SEALS)
		k.Do("seal", linux.SYS_FCNTL, plain, linux.F_ADD_SEALS, linux.F_SEAL_WRITE)
		k.Close(fd, plain)
	})
}
