package sys_test

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/systest"
)

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

func TestStandardDescriptorsAreOpen(t *testing.T) {
	for fd := range uintptr(3) {
		var st linux.Stat
		if _, errno := sys.Call(linux.SYS_FSTAT, fd, systest.Addr(&st), 0, 0, 0, 0); errno != 0 || st.Mode&linux.S_IFMT != linux.S_IFIFO {
			t.Errorf("descriptor %d: mode %o, %s", fd, st.Mode, errno.Name())
		}
	}
	openForTest(t, "/dev/stdout", linux.O_WRONLY)
}
