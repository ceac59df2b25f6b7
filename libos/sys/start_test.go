package sys

import (
	"strconv"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

func openForTest(t testing.TB, path string, flags uintptr) uintptr {
	t.Helper()
	p := []byte(path + "\x00")
	fd, errno := Call(linux.SYS_OPEN, addr(&p[0]), flags, 0, 0, 0, 0)
	if errno != 0 {
		t.Fatalf("open %s: %s", path, errno.Name())
	}
	t.Cleanup(func() { Call(linux.SYS_CLOSE, fd, 0, 0, 0, 0, 0) })
	return fd
}

func TestStandardDescriptorsAreOpen(t *testing.T) {
	for fd := range uintptr(3) {
		var st linux.Stat
		if _, errno := Call(linux.SYS_FSTAT, fd, addr(&st), 0, 0, 0, 0); errno != 0 || st.Mode&linux.S_IFMT != linux.S_IFIFO {
			t.Errorf("descriptor %d: mode %o, %s", fd, st.Mode, errno.Name())
		}
	}
	openForTest(t, "/dev/stdout", linux.O_WRONLY)
}

func TestAPipeCanBeOpenedByItsDescriptor(t *testing.T) {
	differ(t, func(t *testing.T, k *kernel) {
		r, w := k.pair(t, linux.SYS_PIPE2, linux.O_NONBLOCK)
		path := []byte("/proc/self/fd/" + strconv.Itoa(int(w)) + "\x00")
		again := k.fd(t, linux.SYS_OPEN, addr(&path[0]), linux.O_WRONLY)
		k.write("write", again, "through the link")
		k.close(w)
		k.read("read", r, 100)
		k.read("read while a writer is open", r, 100)
		k.close(again)
		k.read("read at the end", r, 100)
		k.close(r)
	})
}

func TestReadingZeroDoesNotAllocate(t *testing.T) {
	fd := openForTest(t, "/dev/zero", linux.O_RDONLY)
	p := make([]byte, 64)
	if n := testing.AllocsPerRun(1000, func() { Call(linux.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), 64, 0, 0, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkReadZero(b *testing.B) {
	fd := openForTest(b, "/dev/zero", linux.O_RDONLY)
	p := make([]byte, 64)
	for b.Loop() {
		Call(linux.SYS_READ, fd, uintptr(unsafe.Pointer(&p[0])), 64, 0, 0, 0)
	}
}

func BenchmarkWriteNull(b *testing.B) {
	fd := openForTest(b, "/dev/null", linux.O_WRONLY)
	p := make([]byte, 64)
	for b.Loop() {
		Call(linux.SYS_WRITE, fd, uintptr(unsafe.Pointer(&p[0])), 64, 0, 0, 0)
	}
}
