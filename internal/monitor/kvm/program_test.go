package kvm_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/kvm"
	"github.com/pith-os/pith/libos/linux"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	monitor.Child()
	if name := os.Getenv(kvm.EnvImage); name != "" {
		os.Exit(kvm.MonitorMain(name))
	}
	os.Exit(harness.Main(m))
}

// onKVM returns the harness's description of this monitor.
func onKVM(t *testing.T) harness.Monitor {
	t.Helper()
	i := slices.IndexFunc(harness.Monitors, func(m harness.Monitor) bool { return m.Name == "kvm" })
	return harness.Monitors[i]
}

// program runs testdata/program until it ends.
func program(t *testing.T, flags []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	i := harness.Start(t, onKVM(t), harness.Program{Package: "./testdata/program", Flags: flags, Args: args})
	code, err := i.Wait(2 * harness.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	return i.Stdout(), i.Stderr(), code
}

// command returns a pith run of testdata/program.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	m := onKVM(t)
	pith := harness.Pith(t, m)
	return exec.CommandContext(t.Context(), pith, slices.Concat([]string{"run"}, m.Flags, []string{"./testdata/program", "--"}, args)...)
}

func TestCrashOfTheNucleusShowsRegisters(t *testing.T) {
	_, stderr, code := program(t, nil, "crash")
	for _, want := range []string{"pith: fault in the nucleus, please report this\ncpu ", " vector 0000000000000006 ", "\nip ", "\nr13 ", "trace, by frame pointers"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in %q", want, stderr)
		}
	}
	if code != 134 {
		t.Errorf("exit code %d", code)
	}
}

func TestInputOfAnySizeArrives(t *testing.T) {
	for _, size := range []int{0, 1, 4 << 20} {
		input := strings.Repeat("0123456789abcde\n", size/16+1)[:size]
		cmd := command(t, "copy")
		cmd.Stdin = strings.NewReader(input)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || string(out) != input || stderr.String() != fmt.Sprintln("copied", size) {
			t.Errorf("%d bytes: %v, %d bytes, %q", size, err, len(out), stderr.String())
		}
	}
}

func TestOutputThatNobodyReadsIsAnError(t *testing.T) {
	cmd := command(t, "flood")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // the exit code shows a failure
	if code := cmd.ProcessState.ExitCode(); code != 3 || !strings.Contains(stderr.String(), "broken pipe") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}

// A slow reader of the output delays the program, and gets all of it.
func TestSlowReaderLosesNothing(t *testing.T) {
	const size = 1 << 20
	cmd := command(t, "copy")
	cmd.Stdin = strings.NewReader(strings.Repeat("x", size))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n, buf := 0, make([]byte, 30<<10)
	for err == nil {
		time.Sleep(time.Millisecond)
		var k int
		k, err = out.Read(buf)
		n += k
	}
	if err := errors.Join(cmd.Wait()); err != nil || n != size {
		t.Errorf("%d bytes of %d, %v", n, size, err)
	}
}

func TestSIGTERMIsTheProgramsToHandle(t *testing.T) {
	i := harness.Start(t, onKVM(t), harness.Program{Package: "./testdata/program", Args: []string{"sleep"}})
	err := i.Await(harness.Timeout, func() error {
		if i.Stdout() == "" {
			return errors.New("the program has not started")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	code, err := i.Stop(unix.SIGTERM, harness.Timeout)
	if err != nil || code != 0 || i.Stdout() != "ready\nterminated\n" {
		t.Errorf("exit code %d, %v, %q", code, err, i.Stdout())
	}
}

func TestFoldersToReadAndWrite(t *testing.T) {
	both, only := t.TempDir(), t.TempDir()
	for _, dir := range []string{both, only} {
		if err := os.WriteFile(filepath.Join(dir, "there"), []byte("here"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stdout, _, code := program(t, []string{"-v", both + ":/both", "-v", only + ":/only:ro"}, "folders", "/both", "/only")
	const want = "/both: <nil>, \"here\", <nil>\n/only: open /only/written: read-only file system, \"here\", <nil>\n"
	if code != 0 || stdout != want {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	if text, err := os.ReadFile(filepath.Join(both, "written")); string(text) != "by the guest" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(only, "written")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// diskFile is a file of zeros in dir.
func diskFile(t *testing.T, dir string, size int64) string {
	t.Helper()
	name := filepath.Join(dir, "disk")
	f, err := os.Create(name)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDiskToReadAndWrite(t *testing.T) {
	name := diskFile(t, t.TempDir(), 1<<20)
	stdout, _, code := program(t, []string{"--disk", name}, "disk", "1048576")
	b, err := os.ReadFile(name)
	if code != 0 || err != nil || b[0] != 0 || b[1] != 1 || b[1<<20-1] != 255 {
		t.Errorf("exit code %d, %q, %v, %v", code, stdout, err, b[:4])
	}
	for _, c := range []struct {
		args  []string
		errno linux.Errno
	}{{[]string{"1048576"}, linux.EPERM}, {[]string{"1048576", "read"}, 0}} {
		stdout, _, code := program(t, []string{"--disk", name + ":ro"}, append([]string{"disk"}, c.args...)...)
		said := strings.Contains(stdout, fmt.Sprintf("\nerrno %d\n", c.errno))
		if c.errno == 0 && code != 0 || c.errno != 0 && (code != 3 || !said) {
			t.Errorf("read-only disk, %q: exit code %d, %q", c.args, code, stdout)
		}
	}
}

func TestFullFileSystemIsAnErrorOfTheDisk(t *testing.T) {
	harness.Pith(t, onKVM(t)) // skips the test without KVM
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	stdout, _, code := program(t, []string{"--disk", diskFile(t, dir, 8<<20)}, "disk", "8388608")
	if code != 3 || !strings.Contains(stdout, fmt.Sprintf("\nerrno %d\n", linux.EIO)) {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

func TestDiskOfADeletedFileWorksOn(t *testing.T) {
	name := diskFile(t, t.TempDir(), 1<<20)
	cmd := command(t, "copy")
	cmd.Args = slices.Insert(cmd.Args, 2, "--disk", name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "it runs\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(name), in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// A quarter of the rate takes four times as long. The bounds are wide, because the host may
// be busy.
func TestLimitsOfADisk(t *testing.T) {
	const size = 2 << 20 // in 32 requests
	took := func(limit, rate string) time.Duration {
		name := diskFile(t, t.TempDir(), size)
		stdout, _, code := program(t, []string{"--disk", name, limit, rate}, "disk", strconv.Itoa(size))
		ms, err := strconv.Atoi(strings.TrimSpace(stdout))
		if code != 0 || err != nil {
			t.Fatalf("exit code %d, %v", code, err)
		}
		return time.Duration(ms) * time.Millisecond
	}
	for limit, rates := range map[string][2]string{"--disk-rate": {"1M", "4M"}, "--disk-iops": {"16", "64"}} {
		slow, fast := took(limit, rates[0]), took(limit, rates[1])
		if ratio := float64(slow) / float64(fast); ratio < 2.5 || ratio > 5.5 {
			t.Errorf("%s: %v with a quarter of the rate, %v with all of it", limit, slow, fast)
		}
	}
}
