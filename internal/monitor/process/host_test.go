package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Some tests need a monitor in a separate process, to run it as another user, with fewer
// rights, or to kill it. They start this test's binary with these variables.
const (
	envImage = "MONITOR_TEST_IMAGE" // the image to run
	envHost  = "MONITOR_TEST_HOST"  // the kind of host to imitate
)

// host is a kind of host, with the rights that a monitor has there.
type host string

const (
	sameUser      host = "this user's"
	otherUser     host = "nobody's"
	noUserNS      host = "without user namespaces"
	bareContainer host = "without namespaces, with CAP_SYS_CHROOT"
	noRights      host = "without namespaces and capabilities"
)

func TestMain(m *testing.M) {
	Main()
	if name := os.Getenv(envImage); name != "" {
		os.Exit(monitorMain(name, host(os.Getenv(envHost))))
	}
	os.Exit(m.Run())
}

// monitorMain runs an image and returns its exit code. It writes a description of the
// confinement to standard error.
func monitorMain(name string, h host) int {
	image := os.NewFile(3, name)
	if err := h.become(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code, err := instance.Run(context.Background(), &instance.Spec{
		Monitor: Monitor{},
		Image:   image, Args: []string{"image"}, CPUs: 1, Memory: 16 << 20,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return boot.ExitFailure
	}
	return code
}

// attributes returns the attributes of a process that runs on host h.
func (h host) attributes(t *testing.T) *syscall.SysProcAttr {
	switch h {
	case sameUser:
		return nil
	case otherUser:
		if os.Geteuid() != 0 {
			t.Skip("only root can start a process of another user")
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: jail.Unprivileged, Gid: jail.Unprivileged}}
	}
	// The process is root of a user namespace, where it can drop rights.
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
}

// become drops the rights that host h does not allow, and executes this program again. All
// threads of the new program lack these rights.
func (h host) become() error {
	if h == sameUser || h == otherUser {
		return nil
	}
	runtime.LockOSThread()
	// The limit applies to this user namespace only (namespaces(7)).
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		return err
	}
	for c := uintptr(0); h != noUserNS && c <= unix.CAP_LAST_CAP; c++ {
		if h == bareContainer && c == unix.CAP_SYS_CHROOT {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	// The image's descriptor stays open.
	if _, err := unix.FcntlInt(3, unix.F_SETFD, 0); err != nil {
		return err
	}
	if err := os.Setenv(envHost, string(sameUser)); err != nil {
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// monitorProcess is a monitor in a separate process.
type monitorProcess struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *strings.Builder
}

// startMonitor starts a monitor on host h. It returns when the image runs.
func startMonitor(t *testing.T, h host, image *os.File) *monitorProcess {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envImage+"="+image.Name(), envHost+"="+string(h))
	cmd.SysProcAttr = h.attributes(t)
	cmd.ExtraFiles = []*os.File{image}
	r := &monitorProcess{Cmd: cmd, err: new(strings.Builder)}
	cmd.Stderr = r.err
	var err error
	if r.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot make a host %s here: %v", h, err)
	}
	t.Cleanup(func() {
		if r.ProcessState == nil {
			_ = r.Process.Kill()
			_ = r.Wait()
		}
	})
	if line, err := r.out.ReadString('\n'); line != ready {
		_ = r.Wait()
		t.Fatalf("the image wrote %q, %v; the monitor wrote %s", line, err, r.err)
	}
	return r
}

// image returns the process id of the monitor's only child.
func (r *monitorProcess) image(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		var pid int
		list, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(list), &pid); err == nil {
			return pid
		}
	}
	t.Fatal("the monitor has no child")
	return 0
}

// ready is the text that waiting images write when they run.
const ready = "ready\n"

// waiting returns an image that runs until its standard input ends. It then exits with code 3.
func waiting(t *testing.T) *os.File {
	var p tinyelf.Program
	p.Syscall(unix.SYS_WRITE, tinyelf.Imm(1), p.CString(ready), tinyelf.Imm(uint64(len(ready))))
	p.Syscall(unix.SYS_READ, tinyelf.Imm(0), p.Data(make([]byte, 8)), tinyelf.Imm(8))
	p.Exit(3)
	return imageFile(t, &p)
}

// ended waits for the end of a process and reports whether it came in time. The process can be
// any process, not only a child of this one.
func ended(t *testing.T, pidfd int, timeout time.Duration) bool {
	t.Helper()
	for deadline := time.Now().Add(timeout); ; {
		left := max(time.Until(deadline), 0)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if err == nil {
			return n == 1
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

// imageFD returns a descriptor of the image's process.
func (r *monitorProcess) imageFD(t *testing.T) int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(r.image(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	return pidfd
}

// awaitState waits until a process is in a state of proc_pid_stat(5).
func awaitState(t *testing.T, pid int, state string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(after, state) {
			return
		}
	}
	t.Fatalf("process %d is not in state %s", pid, state)
}
