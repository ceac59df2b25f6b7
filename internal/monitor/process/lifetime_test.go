package process

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/tinyelf"

	"golang.org/x/sys/unix"
)

func TestImageEndsWithItsMonitor(t *testing.T) {
	for _, h := range []host{sameUser, otherUser, noUserNS, bareContainer, noRights} {
		t.Run(string(h), func(t *testing.T) {
			monitor := startMonitor(t, h, waiting(t))
			pidfd := monitor.imageFD(t)
			defer unix.Close(pidfd)
			if err := monitor.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if !ended(t, pidfd, 5*time.Second) {
				t.Error("the image still runs")
			}
		})
	}
}

func TestImageEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	go func() {
		// The image runs once it has written.
		if _, err := r.Read(make([]byte, len(ready))); err != nil {
			t.Error(err)
		}
		cancel()
	}()
	code, err := instance.Run(ctx, fill(&instance.Spec{Image: waiting(t), Stdin: silence(t), Stdout: w}))
	if code != 128+int(unix.SIGKILL) || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestNothingStartsWhenTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	code, err := instance.Run(ctx, fill(&instance.Spec{Image: waiting(t), Stdin: silence(t)}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %d, %v", code, err)
	}
}

// handling returns an image that exits with the number of the first signal.
func handling(t *testing.T, signals ...unix.Signal) *os.File {
	var p tinyelf.Program
	handler := p.Func(func() { p.Syscall(unix.SYS_EXIT_GROUP, tinyelf.RDI) })
	action := p.Data(make([]byte, 32)) // struct kernel_sigaction: handler, flags, restorer, mask
	p.Store(action, handler)
	p.Store(action+8, tinyelf.Imm(0x04000000)) // SA_RESTORER, which x86-64 requires
	for _, sig := range signals {
		p.Syscall(unix.SYS_RT_SIGACTION, tinyelf.Imm(uint64(sig)), action, tinyelf.Imm(0), tinyelf.Imm(8))
	}
	p.Syscall(unix.SYS_WRITE, tinyelf.Imm(1), p.CString(ready), tinyelf.Imm(uint64(len(ready))))
	p.Forever(func() {
		p.Syscall(unix.SYS_FUTEX, p.Data(make([]byte, 8)), tinyelf.Imm(128), tinyelf.Imm(0), tinyelf.Imm(0))
	})
	return imageFile(t, &p)
}

func TestSignalsReachTheImage(t *testing.T) {
	signals := []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}
	image := handling(t, signals...)
	for _, sig := range signals {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		i, err := instance.Start(t.Context(), fill(&instance.Spec{Image: image, Stdout: w}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, len(ready))); err != nil {
			t.Error(err)
		}
		if err := i.Signal(sig); err != nil {
			t.Error(err)
		}
		if code, err := i.Wait(); err != nil || code != int(sig) {
			t.Errorf("%v: ended with %d, %v", sig, code, err)
		}
		r.Close()
		w.Close()
	}
}

// When an image is stopped and continued, the kernel interrupts its timed wait and makes
// restart_syscall. The filter must not kill the image for this call.
func TestStoppedImageContinues(t *testing.T) {
	var p tinyelf.Program
	timeout := p.Data([]byte{60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	p.Syscall(unix.SYS_WRITE, tinyelf.Imm(1), p.CString(ready), tinyelf.Imm(uint64(len(ready))))
	p.Syscall(unix.SYS_FUTEX, p.Data(make([]byte, 8)), tinyelf.Imm(128), tinyelf.Imm(0), timeout)
	p.ExitErrno()
	monitor := startMonitor(t, sameUser, imageFile(t, &p))
	pid := monitor.image(t)
	awaitState(t, pid, "S")
	for _, step := range []struct {
		sig   unix.Signal
		state string
	}{{unix.SIGSTOP, "T"}, {unix.SIGCONT, ""}} {
		if err := unix.Kill(pid, step.sig); err != nil {
			t.Fatal(err)
		}
		if step.state != "" {
			awaitState(t, pid, step.state)
		}
	}
	err := monitor.Wait()
	if code := monitor.ProcessState.ExitCode(); code != int(unix.EINTR) {
		t.Errorf("ended with %v", err)
	}
}

func TestForbiddenSystemCallIsSaid(t *testing.T) {
	var p tinyelf.Program
	p.Syscall(unix.SYS_GETPID)
	code, out := run(t, &instance.Spec{Image: imageFile(t, &p)})
	if code != 128+int(unix.SIGSYS) || !strings.Contains(out, "system call") {
		t.Errorf("got %d, %q", code, out)
	}
}

func TestMonitorFailuresAreErrors(t *testing.T) {
	text, err := os.Open("lifetime_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	folder, err := os.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	image := waiting(t)
	for _, test := range []struct {
		name string
		c    instance.Spec
		want string
	}{
		{"not an executable", instance.Spec{Image: text}, "execute the image: exec format error"},
		{"a folder", instance.Spec{Image: folder}, "not a regular file"},
		{"a NUL in an argument", instance.Spec{Image: image, Args: []string{"a\x00b"}}, "arguments: "},
		{"too long an argument", instance.Spec{Image: image, Args: []string{strings.Repeat("a", 1<<20)}}, "argument list too long"},
	} {
		code, err := instance.Run(t.Context(), fill(&test.c))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %d, %v; want an error with %q", test.name, code, err, test.want)
		}
	}
}
