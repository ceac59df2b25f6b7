package console

import (
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

// background is the environment variable that tells the test binary to run as
// the child process. The child runs in a session of its own. The controlling
// terminal of the session is its standard input.
const background = "PITH_TEST_BACKGROUND"

// TestTerminalIsReadInTheForeground starts in the background of its terminal.
func TestTerminalIsReadInTheForeground(t *testing.T) {
	if os.Getenv(background) != "" {
		readInBackground(t)
		return
	}
	master, slave := terminal(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), background+"=1")
	cmd.Stdin = slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	io.WriteString(master, "line\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func readInBackground(t *testing.T) {
	signal.Ignore(unix.SIGTTIN, unix.SIGTTOU)
	other := exec.Command("sleep", "10")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	other.Stdin = os.Stdin
	if err := other.Start(); err != nil {
		t.Skip(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	if _, err := unix.Read(0, make([]byte, 8)); err != unix.EIO {
		t.Fatalf("a read in the background: %v", err)
	}
	_, c, _ := guest(t, Port{Name: "in", Input: os.Stdin})
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 10)
		n, errno := c.Port("in").Read(b)
		if errno != 0 {
			b, n = []byte(linux.Errno.Name(errno)), len(errno.Name())
		}
		got <- string(b[:n])
	}()
	select {
	case s := <-got:
		t.Fatalf("the device read %q in the background", s)
	case <-time.After(50 * time.Millisecond):
	}
	if err := unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp()); err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "line\n" {
		t.Errorf("the device read %q in the foreground", s)
	}
}
