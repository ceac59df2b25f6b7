package files_test

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/sys"
	"github.com/pith-os/pith/libos/sys/systest"
)

func TestLocksWaitForEachOther(t *testing.T) {
	for name, call := range map[string]func(w *world, fd uintptr, typ int16) linux.Errno{
		"flock": func(w *world, fd uintptr, typ int16) linux.Errno {
			op := map[int16]uintptr{linux.F_WRLCK: linux.LOCK_EX, linux.F_UNLCK: linux.LOCK_UN}[typ]
			_, errno := w.do(linux.SYS_FLOCK, fd, op)
			return errno
		},
		"open file description": func(w *world, fd uintptr, typ int16) linux.Errno {
			_, errno := w.do(linux.SYS_FCNTL, fd, linux.F_OFD_SETLKW, systest.Addr(&linux.Flock{Type: typ}))
			return errno
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOurs(t)
			a, b := w.create("f"), w.create("f")
			if errno := call(w, a, linux.F_WRLCK); errno != 0 {
				t.Fatal(errno.Name())
			}
			locked := make(chan linux.Errno)
			go func() { locked <- call(w, b, linux.F_WRLCK) }()
			select {
			case <-locked:
				t.Fatal("both have the lock")
			default:
			}
			// Closing the file unlocks it.
			w.must(linux.SYS_CLOSE, a)
			if errno := <-locked; errno != 0 {
				t.Error(errno.Name())
			}
			w.must(linux.SYS_CLOSE, b)
		})
	}
}

func newOurs(t *testing.T) *world {
	w := newWorld(t, sys.Call, "/tmp")
	t.Cleanup(w.end)
	return w
}

func (w *world) create(name string) uintptr {
	w.t.Helper()
	return w.must(linux.SYS_OPENAT, w.root, w.str(w.path, name), linux.O_RDWR|linux.O_CREAT, 0o600)
}
