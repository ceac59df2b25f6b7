package kvm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// EnvImage is an environment variable. It makes this test's binary a monitor that runs the
// image of that name. The test kills this monitor.
const EnvImage = "MONITOR_TEST_IMAGE"

// MonitorMain is main of such a monitor.
func MonitorMain(name string) int {
	image, err := os.Open(name)
	if err != nil {
		panic(err)
	}
	code, err := instance.Run(context.Background(), &instance.Spec{
		Monitor: Monitor{}, Image: image, CPUs: 1, Memory: 16 << 20, Stderr: os.Stderr,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return boot.ExitFailure
	}
	return code
}

// within waits for a condition. If it does not hold in time, the test fails with otherwise.
func within(t *testing.T, otherwise string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}

func awaitStart(t *testing.T, stderr *os.File) {
	t.Helper()
	within(t, "the VM does not start", func() bool { return strings.Contains(contents(t, stderr), "started") })
}

// children returns the process ids of a process's children.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		list, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		for f := range strings.FieldsSeq(string(list)) {
			var pid int
			if _, err := fmt.Sscan(f, &pid); err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// result is the result of a run.
type result struct {
	code int
	err  error
}

func begin(ctx context.Context, c *instance.Spec) <-chan result {
	ended := make(chan result, 1)
	go func() {
		code, err := instance.Run(ctx, c)
		ended <- result{code, err}
	}()
	return ended
}

func TestCancelledMachineIsKilled(t *testing.T) {
	c, stderr := config(t, hanging())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		awaitStart(t, stderr)
		cancel()
	}()
	if code, err := instance.Run(ctx, c); err != nil || code != 128+int(unix.SIGKILL) {
		t.Errorf("exit code %d, %v", code, err)
	}
	if _, err := instance.Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a cancelled context: %v", err)
	}
}

// startMonitor starts a monitor in its own process and process group.
func startMonitor(t *testing.T) (cmd *exec.Cmd, stderr *os.File) {
	t.Helper()
	c, stderr := config(t, hanging())
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), EnvImage+"="+c.Image.Name())
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // killed
		}
	})
	return cmd, stderr
}

// The VMM ends with its monitor, even if the monitor is killed early.
func TestKilledMonitorLeavesNothing(t *testing.T) {
	for range 20 {
		cmd, _ := startMonitor(t)
		time.Sleep(time.Duration(rand.IntN(60_000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		group := cmd.Process.Pid
		within(t, "a process lives on", func() bool { return errors.Is(unix.Kill(-group, 0), unix.ESRCH) })
	}
}

// footprint lists the resources of this process on the host, such as open files and children.
func footprint(t *testing.T) (list []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		// The descriptor of the directory itself is already closed.
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			list = append(list, to)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "memfd:") || strings.Contains(line, "kvm") {
			list = append(list, line)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	list = append(list, string(mounts))
	for _, pid := range children(t, os.Getpid()) {
		list = append(list, fmt.Sprint("child ", pid))
	}
	slices.Sort(list)
	return list
}

func TestKilledVMMLeavesNothing(t *testing.T) {
	c, _ := config(t, hanging())
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	c.Disks = []instance.Disk{{Path: disk}}
	c.Folders = []instance.Folder{{Host: folder, Guest: "/data"}}
	var before []string
	for n := range 51 {
		c.Network, c.CPUs = network.User{}, n%3+1
		ended := begin(t.Context(), c)
		var vmm []int
		within(t, "no process is started", func() bool { vmm = children(t, os.Getpid()); return len(vmm) > 0 })
		time.Sleep(time.Duration(rand.IntN(60_000)) * time.Microsecond)
		for _, pid := range vmm {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
		select {
		case r := <-ended:
			if r.err == nil && r.code != 128+int(unix.SIGKILL) {
				t.Errorf("exit code %d", r.code)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the monitor does not end")
		}
		if n == 0 { // the first round opens files that the process keeps open
			before = footprint(t)
			continue
		}
		var after []string
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			if after = footprint(t); slices.Equal(after, before) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("round %d: was %q\nis %q", n, before, after)
			}
		}
	}
	// The lock of the disk's file must be gone, too.
	c.Network, c.Folders = nil, nil
	c.Image = imageFile(t, ending(4))
	if code, err := instance.Run(t.Context(), c); err != nil || code != 4 {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestVMMIsPlacedInTheCgroup(t *testing.T) {
	needKVM(t)
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup2" && !strings.HasSuffix(f[1], "/pids") {
			continue
		}
		t.Run(f[2], func(t *testing.T) {
			name := filepath.Join(f[1], fmt.Sprintf("pith-kvm-test-%d", os.Getpid()))
			if err := os.Mkdir(name, 0o755); err != nil {
				t.Skipf("no cgroup can be made: %v", err)
			}
			c, stderr := config(t, hanging())
			c.Cgroup = name
			ctx, cancel := context.WithCancel(t.Context())
			ended := begin(ctx, c)
			awaitStart(t, stderr)
			vmm := children(t, os.Getpid())
			list, err := os.ReadFile(filepath.Join(name, "cgroup.procs"))
			// A cgroup of threads also has one thread of this process.
			if err != nil || len(vmm) != 1 || !slices.Contains(strings.Fields(string(list)), fmt.Sprint(vmm[0])) {
				t.Errorf("processes %q, %v; the VMM is %v", list, err, vmm)
			}
			cancel()
			if r := <-ended; r.err != nil {
				t.Error(r.err)
			}
			within(t, "the cgroup is left", func() bool { return os.Remove(name) == nil })
		})
	}
}
