package files_test

import (
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/systest"
)

func benchmarkRead(b *testing.B, path string, size int) {
	name := []byte(path + "\x00")
	fd, errno := sys.Call(linux.SYS_OPENAT, atCwd, at(&name[0]), linux.O_RDWR|linux.O_CREAT, 0o600, 0, 0)
	if errno != 0 {
		b.Fatal(errno.Name())
	}
	data := make([]byte, size)
	buf := systest.Addr(&data[0])
	sys.Call(linux.SYS_PWRITE64, fd, buf, uintptr(size), 0, 0, 0)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		sys.Call(linux.SYS_LSEEK, fd, 0, 0, 0, 0, 0)
		sys.Call(linux.SYS_READ, fd, buf, uintptr(size), 0, 0, 0)
	}
	sys.Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
}

func BenchmarkRead64Zero(b *testing.B) {
	name := []byte("/dev/zero\x00")
	fd, errno := sys.Call(linux.SYS_OPENAT, atCwd, at(&name[0]), linux.O_RDONLY, 0, 0, 0)
	if errno != 0 {
		b.Fatal(errno.Name())
	}
	buf := systest.Addr(new([64]byte))
	b.ReportAllocs()
	for b.Loop() {
		sys.Call(linux.SYS_READ, fd, buf, 64, 0, 0, 0)
	}
	sys.Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
}

func BenchmarkReadFile64(b *testing.B)  { benchmarkRead(b, "/tmp/bench64", 64) }
func BenchmarkReadFile64K(b *testing.B) { benchmarkRead(b, "/tmp/bench64k", 64<<10) }

func BenchmarkCreateStatUnlink(b *testing.B) {
	name := []byte("/tmp/created\x00")
	path := at(&name[0])
	st := at(new(linux.Stat))
	b.ReportAllocs()
	for b.Loop() {
		fd, _ := sys.Call(linux.SYS_OPENAT, atCwd, path, linux.O_RDWR|linux.O_CREAT, 0o600, 0, 0)
		sys.Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		sys.Call(linux.SYS_STAT, path, st, 0, 0, 0, 0)
		sys.Call(linux.SYS_UNLINK, path, 0, 0, 0, 0, 0)
	}
}

func openForTest(t testing.TB, path string, flags uintptr) uintptr {
	t.Helper()
	p := []byte(path + "\x00")
	fd, errno := sys.Call(linux.SYS_OPEN, systest.Addr(&p[0]), flags, 0, 0, 0, 0)
	if errno != 0 {
		t.Fatalf("open %s: %s", path, errno.Name())
	}
	t.Cleanup(func() { sys.Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0) })
	return fd
}

func TestReadingZeroDoesNotAllocate(t *testing.T) {
	fd := openForTest(t, "/dev/zero", linux.O_RDONLY)
	p := make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() { sys.Call(linux.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), 64, 0, 0, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReadZero(b *testing.B) {
	fd := openForTest(b, "/dev/zero", linux.O_RDONLY)
	p := make([]byte, 64)
	for b.Loop() {
		sys.Call(linux.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), 64, 0, 0, 0)
	}
}

func BenchmarkWriteNull(b *testing.B) {
	fd := openForTest(b, "/dev/null", linux.O_WRONLY)
	p := make([]byte, 64)
	for b.Loop() {
		sys.Call(linux.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[0])), 64, 0, 0, 0)
	}
}
