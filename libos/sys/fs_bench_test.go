package sys

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
)

func benchmarkRead(b *testing.B, path string, size int) {
	name := []byte(path + "\x00")
	fd, errno := Call(linux.SYS_OPENAT, atCwd, at(&name[0]), linux.O_RDWR|linux.O_CREAT, 0o600, 0, 0)
	if errno != 0 {
		b.Fatal(errno.Name())
	}
	data := make([]byte, size)
	buf := addr(&data[0])
	Call(linux.SYS_PWRITE64, fd, buf, uintptr(size), 0, 0, 0)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		Call(linux.SYS_LSEEK, fd, 0, 0, 0, 0, 0)
		Call(linux.SYS_READ, fd, buf, uintptr(size), 0, 0, 0)
	}
	Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
}

func BenchmarkRead64Zero(b *testing.B) {
	name := []byte("/dev/zero\x00")
	fd, errno := Call(linux.SYS_OPENAT, atCwd, at(&name[0]), linux.O_RDONLY, 0, 0, 0)
	if errno != 0 {
		b.Fatal(errno.Name())
	}
	buf := addr(new([64]byte))
	b.ReportAllocs()
	for b.Loop() {
		Call(linux.SYS_READ, fd, buf, 64, 0, 0, 0)
	}
	Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
}

func BenchmarkReadFile64(b *testing.B)  { benchmarkRead(b, "/tmp/bench64", 64) }
func BenchmarkReadFile64K(b *testing.B) { benchmarkRead(b, "/tmp/bench64k", 64<<10) }

func BenchmarkCreateStatUnlink(b *testing.B) {
	name := []byte("/tmp/created\x00")
	path := at(&name[0])
	st := at(new(linux.Stat))
	b.ReportAllocs()
	for b.Loop() {
		fd, _ := Call(linux.SYS_OPENAT, atCwd, path, linux.O_RDWR|linux.O_CREAT, 0o600, 0, 0)
		Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
		Call(linux.SYS_STAT, path, st, 0, 0, 0, 0)
		Call(linux.SYS_UNLINK, path, 0, 0, 0, 0, 0)
	}
}
