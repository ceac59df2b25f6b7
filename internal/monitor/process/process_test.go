package process

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// imageFile writes an image to a file and returns the file.
func imageFile(t testing.TB, p *tinyelf.Program) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, p.Bytes(), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// silence returns an input that has no data and does not end.
func silence(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r
}

// fill completes a Spec.
func fill(c *instance.Spec) *instance.Spec {
	c.Monitor, c.CPUs, c.Memory = Monitor{}, max(c.CPUs, 1), max(c.Memory, 16<<20)
	if c.Args == nil {
		c.Args = []string{"test"}
	}
	return c
}

// run runs an image and returns its exit code and output.
func run(t testing.TB, c *instance.Spec) (code int, output string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, w
	fill(c)
	read := make(chan []byte)
	go func() {
		all, err := io.ReadAll(r)
		if err != nil {
			t.Error(err)
		}
		read <- all
	}()
	code, err = instance.Run(context.Background(), c)
	w.Close()
	out := <-read
	if err != nil {
		t.Fatalf("%v; output %q", err, out)
	}
	return code, string(out)
}

func TestProbe(t *testing.T) {
	how, err := Monitor{}.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(how)
}

func TestExitCode(t *testing.T) {
	for _, code := range []byte{0, 1, 2, 42, 255} {
		var p tinyelf.Program
		p.Exit(code)
		if got, _ := run(t, &instance.Spec{Image: imageFile(t, &p)}); got != int(code) {
			t.Errorf("exit code %d, want %d", got, code)
		}
	}
}

func TestImageGetsArgumentsAndEnvironmentOnly(t *testing.T) {
	t.Setenv("SECRET", "of the monitor")
	want := "name\x00-flag\x00\xff\x00" +
		"PITH_BOOT=" + boot.Config{PID: 1, CPUs: 3, Memory: 64 << 20, Hostname: "h"}.String() + "\x00A=1\x00B=\xfe\x00"
	var p tinyelf.Program
	p.LoadStack(tinyelf.RSI, 8)
	p.Syscall(unix.SYS_WRITE, tinyelf.Imm(1), tinyelf.RSI, tinyelf.Imm(uint64(len(want))))
	p.LoadStack(tinyelf.RAX, 8*(1+4+3)) // argc, arguments and 0, three variables: the end
	p.Syscall(unix.SYS_EXIT_GROUP, tinyelf.RAX)
	code, got := run(t, &instance.Spec{
		Image: imageFile(t, &p),
		Args:  []string{"name", "-flag", "\xff"},
		Env:   []string{"A=1", "B=\xfe"},
		CPUs:  3, Memory: 64 << 20, Hostname: "h",
	})
	if got != want || code != 0 {
		t.Errorf("got %q, %d; want %q", got, code, want)
	}
}

func TestStandardInput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("through"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var p tinyelf.Program
	buf := p.Data(make([]byte, 64))
	p.Syscall(unix.SYS_READ, tinyelf.Imm(0), buf, tinyelf.Imm(64))
	p.Syscall(unix.SYS_WRITE, tinyelf.Imm(2), buf, tinyelf.RAX)
	p.Exit(0)
	if _, got := run(t, &instance.Spec{Image: imageFile(t, &p), Stdin: r}); got != "through" {
		t.Errorf("got %q", got)
	}
}

func TestImageThatItsUserMayNotExecute(t *testing.T) {
	var p tinyelf.Program
	p.Exit(7)
	image := imageFile(t, &p)
	if err := image.Chmod(0o600); err != nil {
		t.Fatal(err)
	}
	if code, _ := run(t, &instance.Spec{Image: image}); code != 7 {
		t.Errorf("ended with %d", code)
	}
}

func BenchmarkRun(b *testing.B) {
	var p tinyelf.Program
	p.Exit(0)
	image := imageFile(b, &p)
	for b.Loop() {
		code, err := instance.Run(b.Context(), fill(&instance.Spec{Image: image, Memory: 64 << 20}))
		if code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
}
