package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/guest"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// envImage is an environment variable. It makes this test's binary a monitor that runs the
// image of that name. The test kills this monitor.
const envImage = "MONITOR_TEST_IMAGE"

func TestMain(m *testing.M) {
	if name := os.Getenv(envImage); name != "" {
		f, err := os.Open(name)
		if err != nil {
			panic(err)
		}
		_, err = instance.Run(context.Background(), &instance.Spec{
			Monitor: Monitor{}, Image: f, CPUs: 1, Memory: 16 << 20, Machine: instance.Machine{Accelerator: TCG}, Stderr: os.Stderr,
		})
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// needQEMU skips a test on hosts without QEMU, except in CI.
func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := find(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func imageFile(t *testing.T, code *tinyelf.Machine) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, code.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// exit appends code that ends the VM with an exit code.
func exit(m *tinyelf.Machine, code int) {
	m.Out(boot.DebugControl, boot.MachineExit(code).String()+"\n")
	m.Out(boot.DebugExit, "\x00")
	m.Halt()
}

// hang returns an image that writes a line and never ends.
func hang(t *testing.T) *os.File {
	var m tinyelf.Machine
	m.Out(boot.DebugText, "started\n")
	m.Halt()
	return imageFile(t, &m)
}

// config returns a Spec for the image, and the file that receives its standard error.
func config(t *testing.T, image *os.File, machineType string) (*instance.Spec, *os.File) {
	t.Helper()
	needQEMU(t)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	return &instance.Spec{
		Monitor: Monitor{}, Image: image, Args: []string{"image"}, CPUs: 1, Memory: 16 << 20,
		Machine: instance.Machine{Type: machineType, Accelerator: TCG}, Stderr: stderr,
		Log: func(format string, args ...any) { t.Logf(format, args...) },
	}, stderr
}

func contents(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func onEachMachine(t *testing.T, test func(t *testing.T, machineType string)) {
	for _, m := range description.MachineTypes {
		t.Run(m, func(t *testing.T) { test(t, m) })
	}
}

func TestExitCodeAndWordsOfTheMachine(t *testing.T) {
	onEachMachine(t, func(t *testing.T, machineType string) {
		for _, code := range []int{0, 7, 255} {
			var m tinyelf.Machine
			m.Out(boot.DebugText, "said early\n")
			exit(&m, code)
			c, stderr := config(t, imageFile(t, &m), machineType)
			got, err := instance.Run(t.Context(), c)
			if err != nil || got != code || contents(t, stderr) != "said early\n" {
				t.Errorf("exit code %d, %v, %q, want %d", got, err, contents(t, stderr), code)
			}
		}
	})
}

func TestEveryCPUModelBoots(t *testing.T) {
	onEachMachine(t, func(t *testing.T, machineType string) {
		for _, cpu := range []string{"max", "qemu64"} {
			var m tinyelf.Machine
			exit(&m, 3)
			c, _ := config(t, imageFile(t, &m), machineType)
			c.Machine.CPUModel, c.CPUs = cpu, 4
			if got, err := instance.Run(t.Context(), c); err != nil || got != 3 {
				t.Errorf("%s: exit code %d, %v", cpu, got, err)
			}
		}
	})
}

func TestBootParametersArrive(t *testing.T) {
	onEachMachine(t, func(t *testing.T, machineType string) {
		var short, long tinyelf.Machine
		short.OutCommandLine(boot.DebugText)
		long.OutModule(boot.DebugText)
		exit(&short, 0)
		exit(&long, 0)
		c, stderr := config(t, imageFile(t, &short), machineType)
		folder := t.TempDir() // the boot parameters do not have this path
		c.Args = []string{"web", "", "-flag=a b,c"}
		c.Env = []string{"A=b", "EMPTY=", "LONG="}
		c.Hostname = "host"
		c.Folders = []instance.Folder{{Host: folder, Guest: "/data", ReadOnly: true}, {Host: folder, Guest: "/more"}}
		for _, length := range []int{maxCommandLine, maxCommandLine + 1, 100_000} {
			if length > maxCommandLine {
				c.Image = imageFile(t, &long)
			}
			if err := stderr.Truncate(0); err != nil {
				t.Fatal(err)
			}
			if _, err := stderr.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			c.Env[2] += strings.Repeat("x", length-len(mustLine(t, c)))
			if _, err := instance.Run(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			line := contents(t, stderr)
			if line != mustLine(t, c) {
				t.Errorf("a line of %d bytes came through as one of %d", length, len(line))
			}
			got, err := boot.Parse(line)
			if err != nil || len(got.Args) != 3 || got.Args[2] != "-flag=a b,c" || got.Env[1] != "EMPTY=" || got.CPUs != 1 || got.Memory != 16<<20 ||
				len(got.Mounts) != 2 || got.Mounts[0] != (boot.Mount{Tag: "fs0", Path: "/data", ReadOnly: true}) {
				t.Errorf("%v: %.200q", err, line)
			}
		}
		c.Env[2] += strings.Repeat("x", boot.MaxLine-len(mustLine(t, c))+1)
		if _, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "are 1048576 bytes: a virtual machine takes 1048575") {
			t.Errorf("boot parameters with a byte too many: %v", err)
		}
	})
}

func mustLine(t *testing.T, c *instance.Spec) string {
	t.Helper()
	line, err := guest.BootLine(&instance.Launch{Spec: c, Boot: c.Parameters()})
	if err != nil {
		t.Fatal(err)
	}
	return line
}

func TestMachineThatEndsWithoutAWord(t *testing.T) {
	var m tinyelf.Machine
	m.Raw(0x0f, 0x01, 0x1d) // LIDT [0]: no interrupt table
	m.Raw(0, 0, 0, 0)
	m.Raw(0x0f, 0x0b) // UD2, a triple fault
	c, _ := config(t, imageFile(t, &m), "")
	if code, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "without an exit code") {
		t.Errorf("%d, %v", code, err)
	}
}

func TestFailuresSayWhatTheMatterIs(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(c *instance.Spec)
		want   string
	}{
		{"CPU model", func(c *instance.Spec) { c.Machine.CPUModel = "abacus" }, "abacus"},
		{"machine type", func(c *instance.Spec) { c.Machine.Type = "steam" }, "machine type: steam is not known: choose microvm or q35"},
		{"accelerator", func(c *instance.Spec) { c.Machine.Accelerator = "rocket" }, "accelerator: rocket is not known: choose kvm or tcg"},
		{"image", func(c *instance.Spec) { c.Image, _ = os.Open(os.DevNull) }, "read /dev/null"},
		{"memory", func(c *instance.Spec) { c.Memory = 3 << 20 }, "memory: 3M is too little: give at least 8M"},
		{"folder", func(c *instance.Spec) { c.Folders = []instance.Folder{{Host: "/nonexistent", Guest: "/a"}} }, "/nonexistent"},
	} {
		var m tinyelf.Machine
		exit(&m, 0)
		c, _ := config(t, imageFile(t, &m), "")
		test.change(c)
		if code, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: exit code %d, %v, want an error with %q", test.name, code, err, test.want)
		}
	}
}

func TestWithoutQEMUTheUserHearsHowToInstallIt(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := instance.Run(t.Context(), &instance.Spec{Monitor: Monitor{}, Memory: 16 << 20, Image: os.Stdin}); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install qemu-system-x86") {
		t.Error(err)
	}
	if _, err := (Monitor{}).Probe(t.Context()); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
}

func TestProbeStartsEveryMachine(t *testing.T) {
	needQEMU(t)
	how, err := Monitor{}.Probe(t.Context())
	if err != nil || !strings.Contains(how, "microvm, q35; ") {
		t.Errorf("%q, %v", how, err)
	}
}

// awaitStart waits for the line of an image of hang.
func awaitStart(t *testing.T, stderr *os.File) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(contents(t, stderr), "started"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the VM does not start")
		}
	}
}

func TestDebuggerFindsTheMachineBeforeItsFirstInstruction(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	image := hang(t)
	c, stderr := config(t, image, "")
	c.Machine.Debugger = addr
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := instance.Run(ctx, c)
		ended <- err
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var debugger net.Conn
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if debugger, err = net.Dial("tcp", addr); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer debugger.Close()
	// In gdb's remote protocol, ask why the VM has stopped. Then continue.
	io.WriteString(debugger, "$?#3f")
	buf := make([]byte, 100)
	n, err := io.ReadAtLeast(debugger, buf, 5)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "+$T05") {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if said := contents(t, stderr); !strings.Contains(said, "target remote "+addr) || !strings.Contains(said, image.Name()) || strings.Contains(said, "started") {
		t.Errorf("%q", said)
	}
	io.WriteString(debugger, "+$c#63")
	awaitStart(t, stderr)
}

func TestCancelledMachineIsKilled(t *testing.T) {
	c, stderr := config(t, hang(t), "")
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

func TestKilledMonitorLeavesNoQEMU(t *testing.T) {
	_, stderr := config(t, nil, "")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), envImage+"="+hang(t).Name())
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitStart(t, stderr)
	var qemu int // process id of the only child of the monitor's threads
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range tasks {
		children, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := fmt.Sscan(string(children), &qemu); n == 1 {
			break
		}
	}
	// The descriptor refers to this process, even if another one gets its id later.
	fd, err := unix.PidfdOpen(qemu, 0)
	if err != nil {
		t.Fatalf("QEMU is process %d: %v", qemu, err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000); n != 1 {
		t.Errorf("QEMU still runs (%v)", err)
	}
}

func TestMachineWithANetworkEnds(t *testing.T) {
	onEachMachine(t, func(t *testing.T, machineType string) {
		var m tinyelf.Machine
		exit(&m, 5)
		c, _ := config(t, imageFile(t, &m), machineType)
		c.Network, c.CPUs = network.User{}, 2
		if code, err := instance.Run(t.Context(), c); err != nil || code != 5 {
			t.Errorf("exit code %d, %v", code, err)
		}
	})
}

func TestSlowReaderLosesNothing(t *testing.T) {
	var q command
	end, err := q.character("test")
	if err != nil {
		t.Fatal(err)
	}
	qemus := q.own[0]
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	const total = 4 << 20
	go func() {
		qemus.Write(make([]byte, total))
		qemus.Close()
	}()
	drained := make(chan error, 1)
	go func() {
		drained <- drain(w, end)
		w.Close()
	}()
	n, buf := 0, make([]byte, 60<<10)
	for {
		time.Sleep(time.Millisecond)
		k, err := r.Read(buf)
		n += k
		if err != nil {
			break
		}
	}
	if err := <-drained; err != nil || n != total {
		t.Errorf("%d bytes of %d, %v", n, total, err)
	}
}

func TestOutputThatNobodyReadsClosesThePort(t *testing.T) {
	var q command
	end, err := q.character("test")
	if err != nil {
		t.Fatal(err)
	}
	qemus := q.own[0]
	defer qemus.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	if _, err := io.WriteString(qemus, "x"); err != nil {
		t.Fatal(err)
	}
	if err := drain(w, end); !errors.Is(err, unix.EPIPE) {
		t.Error(err)
	}
	if n, err := qemus.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the port is open: %d, %v", n, err)
	}
}

func TestInputAndItsEndReachThePort(t *testing.T) {
	for _, input := range []string{"", "x", strings.Repeat("line\n", 100000)} {
		var q command
		end, err := q.character("test")
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			io.WriteString(w, input)
			w.Close()
		}()
		fed := make(chan error, 1)
		go func() { fed <- feed(t.Context(), end, r) }()
		if b, err := io.ReadAll(q.own[0]); string(b) != input || err != nil {
			t.Errorf("%d bytes of %d, %v", len(b), len(input), err)
		}
		if err := <-fed; err != nil {
			t.Error(err)
		}
		// Keep the other direction of the socket open. If QEMU sees a hang-up, it
		// discards unread data.
		if _, err := io.WriteString(q.own[0], "x"); err != nil {
			t.Error(err)
		}
		q.abandon()
	}
}

func TestInputIsLeftAloneWhenTheMachineHasEnded(t *testing.T) {
	var q command
	end, err := q.character("test")
	if err != nil {
		t.Fatal(err)
	}
	defer q.abandon()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	fed := make(chan error, 1)
	go func() { fed <- feed(ctx, end, r) }()
	cancel()
	if err := <-fed; err != nil {
		t.Error(err)
	}
	io.WriteString(w, "for the next")
	buf := make([]byte, 100)
	if n, err := r.Read(buf); string(buf[:n]) != "for the next" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
}
