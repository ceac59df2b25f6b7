package confine

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/jail/jailtest"

	"golang.org/x/sys/unix"
)

// monitorName is argument 0 of a process that starts a child and waits.
const monitorName = "confine-test-monitor"

func TestMain(m *testing.M) {
	jail.Main()
	switch os.Args[0] {
	case childName:
		os.Exit(childMain(os.Args[1]))
	case monitorName:
		p, how, err := start("wait", os.Stdin, os.Stdout, os.Stdout)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(p.PID, how)
		<-p.Ended
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// start starts a child with its files.
func start(what string, files ...*os.File) (*jail.Process, string, error) {
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return jail.Start(context.Background(), jail.Program{
		Name: childName, Args: []string{what}, Env: Environment, Threads: 200,
		Files:  fds,
		Limits: map[int]uint64{unix.RLIMIT_NOFILE: 1024},
	})
}

// run runs a child until it ends. files get the descriptors from diskFD on.
func run(t *testing.T, what string, files ...*os.File) (status unix.WaitStatus, output string) {
	t.Helper()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, _, err := start(what, append([]*os.File{null, w, w}, files...)...)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	if status, err = p.Reap(); err != nil {
		t.Error(err)
	}
	return status, string(said)
}

func TestGoRuntimeWorksWhereItIsConfined(t *testing.T) {
	if status, output := run(t, "work"); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("ended with %#x: %s", status, output)
	}
}

func TestForbiddenSystemCallsKill(t *testing.T) {
	for _, calls := range []map[string]func(*child) error{forbidden, forbiddenOnCPU} {
		for what := range calls {
			t.Run(what, func(t *testing.T) {
				if status, output := run(t, what); !status.Signaled() || status.Signal() != unix.SIGSYS {
					t.Errorf("ended with %#x: %s", status, output)
				}
			})
		}
	}
}

// devices returns the files of the child's devices, and the path of its socket.
func devices(t *testing.T) (files []*os.File, socket string) {
	t.Helper()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []int{os.O_RDWR, os.O_RDONLY} {
		f, err := os.OpenFile(disk, mode, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	socket = filepath.Join(dir, "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, f)
	t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	return files, socket
}

func TestDevicesWorkWhereTheyAreConfined(t *testing.T) {
	files, socket := devices(t)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if status, output := run(t, "devices", files...); !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("ended with %#x: %s", status, output)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "0123456789" {
		t.Errorf("the connection had %q, %v", got, err)
	}
}

func TestDevicesAreForbiddenMore(t *testing.T) {
	files, _ := devices(t)
	for what := range forbiddenOnDevices {
		t.Run(what, func(t *testing.T) {
			if status, output := run(t, what, files...); !status.Signaled() || status.Signal() != unix.SIGSYS {
				t.Errorf("ended with %#x: %s", status, output)
			}
		})
	}
}

// waiting starts a monitor whose child waits for the end of its input.
func waiting(t *testing.T) (monitor *exec.Cmd, pid int, how string) {
	t.Helper()
	monitor = exec.Command("/proc/self/exe")
	monitor.Args = []string{monitorName}
	if _, err := monitor.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := monitor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = monitor.Process.Kill()
		_ = monitor.Wait()
	})
	lines := bufio.NewScanner(out)
	for confined := false; !confined || pid == 0; {
		if !lines.Scan() {
			t.Fatal("the child ended early")
		}
		line := lines.Text()
		if line == "<nil>" {
			confined = true
			continue
		}
		number, rest, _ := strings.Cut(line, " ")
		if _, err := fmt.Sscan(number, &pid); err != nil {
			t.Fatalf("the child wrote %q", line)
		}
		how = rest
	}
	return monitor, pid, how
}

func TestEveryThreadIsWithoutPrivilege(t *testing.T) {
	_, pid, how := waiting(t)
	t.Log(how)
	statuses, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(statuses) < 3 {
		t.Fatalf("%d threads, %v", len(statuses), err)
	}
	want := map[string]string{
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"CapAmb": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	}
	if os.Geteuid() == 0 && jail.CanChangeUser(jail.Unprivileged, jail.Unprivileged) {
		want["Uid"], want["Groups"] = strings.Join([]string{"65534", "65534", "65534", "65534"}, "\t"), ""
	} else {
		delete(want, "CapBnd") // the user may lack the right to empty it
	}
	stricter := 0
	for _, name := range statuses {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			value = strings.TrimSpace(value)
			if w, ok := want[key]; ok && value != w {
				t.Errorf("%s: %s is %s, want %s", name, key, value, w)
			}
			if key == "Seccomp_filters" && value == "2" {
				stricter++
			}
		}
		if !bytes.Contains(text, []byte("Seccomp_filters")) { // before Linux 5.9
			stricter = 1
		}
	}
	if stricter != 1 {
		t.Errorf("%d threads have the filter of a vCPU", stricter)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/", pid))
	if strings.Contains(how, "root: empty") && (err != nil || len(entries) != 0) {
		t.Errorf("the root has %v, %v", entries, err)
	}
}

func TestChildEndsWithItsMonitor(t *testing.T) {
	monitor, pid, _ := waiting(t)
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := monitor.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); err == nil && n == 1 {
			return
		}
	}
	t.Error("the child still runs")
}

var update = flag.Bool("update", false, "write the tables of system calls to docs/security.md")

// The lines around the tables in docs/security.md.
const (
	document     = "../../../../docs/security.md"
	processStart = "<!-- system calls of the KVM monitor: go test ./internal/monitor/kvm/confine -run Table -update -->\n"
	processEnd   = "<!-- end of the KVM monitor's -->\n"
	vcpuStart    = "<!-- system calls of a CPU's thread: go test ./internal/monitor/kvm/confine -run Table -update -->\n"
	vcpuEnd      = "<!-- end of a CPU's thread's -->\n"
)

// everything returns the bounds of a VM with all devices.
func everything() *bounds {
	return &bounds{
		Descriptors: Descriptors{VM: 10, VCPUs: []int{11, 12}, Inputs: []int{0}, Outputs: []int{1, 2}, Sockets: []int{4},
			Disks: []int{5}, ReadOnlyDisks: []int{6}, Memory: 7, VhostNet: 8, Tap: 9, Listener: 13},
		pid: 1, events: []int{20, 21, 22}, pollers: []int{3}, connections: []int{23, 24, 25},
	}
}

func TestAtMost40SystemCalls(t *testing.T) {
	b := everything()
	all := append(process(b), withC()...)
	jailtest.Check(t, all, 40)
	jailtest.Check(t, vcpu(b, 11), 20)
	permitted := map[uint32]bool{}
	for _, c := range all {
		permitted[c.Number] = true
	}
	for _, c := range vcpu(b, 11) {
		if !permitted[c.Number] {
			t.Errorf("a vCPU's table permits %s, but the table of all threads does not", c.Name)
		}
	}
}

func TestTablesOfTheDocument(t *testing.T) {
	b := everything()
	jailtest.Document(t, document, processStart, processEnd, append(process(b), withC()...), *update)
	jailtest.Document(t, document, vcpuStart, vcpuEnd, vcpu(b, 11), *update)
}

func TestFilterFitsEveryMachine(t *testing.T) {
	b := everything()
	for fd := 100; fd < 1000; fd += 3 { // no two are adjacent
		b.VCPUs = append(b.VCPUs, fd)
		b.events = append(b.events, fd+1)
	}
	for fd := range 1 << 15 {
		b.connections = append(b.connections, 1001+fd)
	}
	if _, err := jail.Filter(append(process(b), withC()...)); err != nil {
		t.Error(err)
	}
}
