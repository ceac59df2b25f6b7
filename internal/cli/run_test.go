package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/image"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"golang.org/x/sys/unix"
)

// recorder is a monitor that keeps what it was asked to run, and whose instances
// end at once with code.
type recorder struct {
	launch *instance.Launch
	code   int
	err    error
}

func (*recorder) Describe() *instance.Description {
	return &instance.Description{
		Name: "recorder", MachineTypes: []string{"q35"}, Accelerators: []string{"tcg"},
		Can: []instance.Part{instance.Disks, instance.Vsock, instance.TAP, instance.HugePages,
			instance.MachineType, instance.Accelerator, instance.CPUModel, instance.Debugger},
	}
}
func (*recorder) Ready(context.Context) (string, error) { return "", nil }
func (*recorder) Probe(context.Context) (string, error) { return "", nil }
func (r *recorder) Start(_ context.Context, l *instance.Launch) (instance.Running, error) {
	r.launch = l
	if r.err != nil {
		return nil, r.err
	}
	ended := make(chan struct{})
	close(ended)
	return finished{ended, r.code}, nil
}

// finished is an instance that has ended.
type finished struct {
	ended chan struct{}
	code  int
}

func (finished) How() string                          { return "" }
func (finished) Processes() []int                     { return nil }
func (finished) Signal(unix.Signal)                   {}
func (f finished) Ended() <-chan struct{}             { return f.ended }
func (finished) Tasks() []func(context.Context) error { return nil }
func (finished) Receive(func(string))                 {}
func (finished) Acknowledge(string)                   {}
func (finished) Accepts() bool                        { return true }
func (finished) Link() link.Link                      { return nil }
func (finished) Unplug() error                        { return nil }
func (finished) Stop() error                          { return nil }
func (f finished) Result() (int, error)               { return f.code, nil }

// stock stands in for a derived distribution: the test's module has the one
// package of the library OS that an image needs.
type stock struct{}

func (stock) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	return cmd
}

func buildImage(t *testing.T, args, env []string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":               "module pith\n\ngo 1.25\n",
		"libos/image/image.go": "package image\n\nvar Root = [2]uintptr{0x6d6920687469709b, 0x746f6f522e656761}\n",
		"cmd/tool/main.go":     "package main\n\nimport \"pith/libos/image\"\n\nfunc main() { println(image.Root[0]) }\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "tool.pith")
	_, err := image.Build(t.Context(), stock{}, image.Options{
		Package: "./cmd/tool", Dir: dir, Output: out, Trimpath: true, Args: args, Env: env,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// runMain is Main with a monitor that only records.
func runMain(t *testing.T, r *recorder, args ...string) (code int, stderr string) {
	t.Helper()
	saved := monitors
	monitors = []instance.Monitor{r}
	defer func() { monitors = saved }()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	code = Main(args, nil, f, f)
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, string(b)
}

func TestRunGivesTheProgramWhatWasAskedFor(t *testing.T) {
	path := buildImage(t, []string{"default", "args"}, []string{"A=image", "B=image"})
	for _, test := range []struct {
		args       string
		wantArgs   []string
		wantA      string
		memory     uint64
		cpus       int
		host       string
		trace, net bool
	}{
		{args: "", wantArgs: []string{"tool", "default", "args"}, wantA: "A=image", memory: 256 << 20, host: "pith"},
		{args: "-e A=flag --memory 64M --cpus 3 --hostname h.example --trace -- -flag x",
			wantArgs: []string{"tool", "-flag", "x"}, wantA: "A=flag", memory: 64 << 20, cpus: 3, host: "h.example", trace: true},
	} {
		var r recorder
		r.code = 7
		code, stderr := runMain(t, &r, append([]string{"run", path}, strings.Fields(test.args)...)...)
		if code != 7 || stderr != "" {
			t.Fatalf("%s: exit %d: %s", test.args, code, stderr)
		}
		c := r.launch
		if !slices.Equal(c.Args, test.wantArgs) {
			t.Errorf("%s: arguments %q", test.args, c.Args)
		}
		if !slices.Contains(c.Env, test.wantA) || !slices.Contains(c.Env, "B=image") {
			t.Errorf("%s: environment %q", test.args, c.Env)
		}
		b := c.Boot
		if b.Memory != test.memory || b.Hostname != test.host || b.Trace != test.trace || b.CPUs < 1 || test.cpus > 0 && b.CPUs != test.cpus {
			t.Errorf("%s: boot parameters %+v", test.args, b)
		}
		if b.Net != nil || c.Network != nil {
			t.Errorf("%s: a program without package net has a network device", test.args)
		}
	}
}

func TestRunAsksForTheVirtualMachineOfItsFlags(t *testing.T) {
	path, folder := buildImage(t, nil, nil), t.TempDir()
	var r recorder
	args := strings.Fields("--machine q35 --accel tcg --cpu-model qemu64 --gdb :1234 -v " + folder + ":/data/ -v " + folder + ":/ro:ro")
	if code, stderr := runMain(t, &r, append([]string{"run", path}, args...)...); code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	want := instance.Machine{Type: "q35", Accelerator: "tcg", CPUModel: "qemu64", Debugger: "127.0.0.1:1234"}
	if r.launch.Machine != want {
		t.Errorf("%+v", r.launch.Machine)
	}
	folders := []instance.Folder{{Host: folder, Guest: "/data"}, {Host: folder, Guest: "/ro", ReadOnly: true}}
	if !slices.Equal(r.launch.Folders, folders) {
		t.Errorf("%+v", r.launch.Folders)
	}
}

func TestRunFailures(t *testing.T) {
	path := buildImage(t, nil, nil)
	for _, test := range []struct {
		name, flags string
		err         error
		code        int
		want        string
	}{
		{"monitor", "", errors.New("no\nnamespaces"), 125, "pith: run: no; namespaces\n"},
		{"no network in it", "-p 1:2", nil, 1, "does not use package net"},
	} {
		code, stderr := runMain(t, &recorder{err: test.err}, append([]string{"run", path}, strings.Fields(test.flags)...)...)
		if code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: exit %d: %s", test.name, code, stderr)
		}
	}
}

func TestWhatRunsIsWhatWasChecked(t *testing.T) {
	path := buildImage(t, nil, nil)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	after, err := io.ReadAll(io.NewSectionReader(img.File(), 0, int64(len(before))))
	if err != nil || string(after) != string(before) {
		t.Errorf("the open image changed with its path: %v", err)
	}
}

func TestImagesAreToldFromPackages(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"main.go", "image"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for name, want := range map[string]bool{
		"image": true, "./image": true, "missing.pith": true,
		"main.go": false, ".": false, "example.com/m@latest": false, "./missing": false,
	} {
		if got := isImage(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
