package console

import (
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"

	"golang.org/x/sys/unix"
)

// redirect makes descriptor fd a pipe and returns the other end of it: the read end if
// fd is for output.
func redirect(t *testing.T, fd int) int {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	mine, other := p[0], p[1]
	if fd != 0 {
		mine, other = other, mine
	}
	saved, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup2(mine, fd); err != nil {
		t.Fatal(err)
	}
	unix.Close(mine)
	t.Cleanup(func() {
		unix.Dup2(saved, fd)
		unix.Close(saved)
	})
	return other
}

// watch returns a channel that receives when the file becomes readable.
func watch(t *testing.T, f *File) <-chan wait.Events {
	ch := make(chan wait.Events, 16)
	e := &wait.Entry{Notify: func(ev wait.Events) { ch <- ev }}
	f.Watch().Register(e, wait.In)
	t.Cleanup(func() { f.Watch().Unregister(e) })
	return ch
}

func receive(t *testing.T, ch <-chan wait.Events) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("no notification")
	}
}

func TestReadingInputNeverBlocksAndTellsWhenThereIsSome(t *testing.T) {
	w := redirect(t, 0)
	f := Standard(0)
	ch := watch(t, f)
	p := make([]byte, 3)
	if n, errno := f.Read(p); errno != linux.EAGAIN {
		t.Fatalf("read of nothing: %d, %s", n, errno.Name())
	}
	unix.Write(w, []byte("abcde"))
	receive(t, ch)
	if f.Ready() != wait.In {
		t.Errorf("not ready: %#x", f.Ready())
	}
	var pending int32
	if _, errno := f.Ioctl(linux.FIONREAD, uintptr(unsafe.Pointer(&pending))); errno != 0 || pending != 5 {
		t.Errorf("FIONREAD: %d, %s", pending, errno.Name())
	}
	for _, want := range []string{"abc", "de"} {
		if n, errno := f.Read(p); errno != 0 || string(p[:n]) != want {
			t.Errorf("read: %q, %s; want %q", p[:n], errno.Name(), want)
		}
	}
	unix.Close(w)
	if ev := f.Ready(); ev != 0 {
		t.Errorf("ready before the end came: %#x", ev)
	}
	receive(t, ch)
	if n, errno := f.Read(p); n != 0 || errno != 0 {
		t.Errorf("end of input: %d, %s", n, errno.Name())
	}
}

func TestOutputReachesItsDescriptor(t *testing.T) {
	for fd := 1; fd <= 2; fd++ {
		r := redirect(t, fd)
		f := Standard(fd)
		if n, errno := f.Write([]byte("hello")); n != 5 || errno != 0 {
			t.Errorf("write: %d, %s", n, errno.Name())
		}
		p := make([]byte, 16)
		if n, _ := unix.Read(r, p); string(p[:max(n, 0)]) != "hello" {
			t.Errorf("descriptor %d got %q", fd, p[:max(n, 0)])
		}
		unix.Close(r)
	}
}

func TestAccessModes(t *testing.T) {
	var p [1]byte
	if _, errno := Standard(0).Write(p[:]); errno != linux.EBADF {
		t.Errorf("write to standard input: %s", errno.Name())
	}
	if _, errno := Standard(1).Read(p[:]); errno != linux.EBADF {
		t.Errorf("read of standard output: %s", errno.Name())
	}
	if _, errno := Standard(1).Reopen(linux.O_RDONLY); errno != linux.EACCES {
		t.Errorf("reopen of standard output for reading: %s", errno.Name())
	}
}

func TestOnlyATerminalAnswersAsOne(t *testing.T) {
	for _, tty := range []bool{false, true} {
		platform.Config().TTY[1] = tty
		f := Standard(1)
		var want linux.Errno
		mode := uint32(linux.S_IFCHR)
		if !tty {
			want, mode = linux.ENOTTY, linux.S_IFIFO
		}
		var tio termios
		if _, errno := f.Ioctl(tcgets, uintptr(unsafe.Pointer(&tio))); errno != want {
			t.Errorf("tty=%t: TCGETS: %s", tty, errno.Name())
		}
		if tty {
			if _, errno := f.Ioctl(tcsets, uintptr(unsafe.Pointer(&tio))); errno != 0 {
				t.Errorf("setting what is set: %s", errno.Name())
			}
			tio.lflag &^= 8 // ECHO
			if _, errno := f.Ioctl(tcsetsf, uintptr(unsafe.Pointer(&tio))); errno != linux.EOPNOTSUPP {
				t.Errorf("turning echo off: %s", errno.Name())
			}
		}
		var ws winsize
		if _, errno := f.Ioctl(tiocgwinsz, uintptr(unsafe.Pointer(&ws))); errno != want {
			t.Errorf("tty=%t: TIOCGWINSZ: %s", tty, errno.Name())
		}
		var st linux.Stat
		f.Stat(&st)
		if st.Mode&linux.S_IFMT != mode {
			t.Errorf("tty=%t: mode %o", tty, st.Mode)
		}
	}
	platform.Config().TTY[1] = false
}

func TestTheWindowIsAsLargeAsItsOwnerSays(t *testing.T) {
	platform.Config().TTY[1] = true
	defer func() { platform.Config().TTY[1], Window = false, nil }()
	for _, c := range []struct {
		window func() (cols, rows uint16)
		want   winsize
	}{
		{nil, winsize{rows: 24, cols: 80}},
		{func() (cols, rows uint16) { return 0, 0 }, winsize{rows: 24, cols: 80}},
		{func() (cols, rows uint16) { return 132, 43 }, winsize{rows: 43, cols: 132}},
	} {
		Window = c.window
		var ws winsize
		if _, errno := Standard(1).Ioctl(tiocgwinsz, uintptr(unsafe.Pointer(&ws))); errno != 0 || ws != c.want {
			t.Errorf("%+v, %s; want %+v", ws, errno.Name(), c.want)
		}
	}
}

func TestThereIsNoControllingTerminalWithoutOne(t *testing.T) {
	if _, errno := OpenTerminal(linux.O_RDWR); errno != linux.ENXIO {
		t.Errorf("/dev/tty: %s", errno.Name())
	}
}
