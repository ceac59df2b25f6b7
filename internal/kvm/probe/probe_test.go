package probe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/kvm"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"
)

// open opens /dev/kvm, or skips the test.
func open(t testing.TB) *os.File {
	t.Helper()
	f, err := kvm.Open()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// This trial also passes with a KVM that cannot interpret all instructions.
func TestATrialEndsAtItsPort(t *testing.T) {
	device := open(t)
	for _, test := range []struct {
		name string
		port uint16
		want string // of the error
	}{{"the port that ends it", boot.DebugExit, ""}, {"another", boot.DebugControl, "it wrote to port 0xea"}} {
		var m tinyelf.Machine
		m.Out(test.port, "x")
		m.Halt()
		err := run(device, m.Code(), func() {})
		if got := ""; err != nil {
			got = err.Error()
			if got != test.want {
				t.Errorf("%s: %s", test.name, got)
			}
		} else if test.want != "" {
			t.Errorf("%s: no error", test.name)
		}
	}
}

func TestWhatIsFastestCounts(t *testing.T) {
	const exit, instruction = 2 * time.Microsecond, 100 * time.Nanosecond
	at := []time.Time{{}}
	for i := 1; i <= rounds*exits; i++ {
		took := exit
		if i%exits == 0 {
			took += 2 * loops * instruction
		}
		if i%5 == 0 || i/exits == 1 { // interrupted
			took += time.Millisecond
		}
		at = append(at, at[i-1].Add(took))
	}
	if got, want := fastest(at), (Found{Instruction: instruction, Exit: exit}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestFindingsReadAsASentence(t *testing.T) {
	for found, want := range map[Found]string{
		{Exit: 1234}: "KVM runs code at CPL 0; under 1ns an instruction there, 1.2µs an exit to the monitor",
		{Instruction: 160, Interpreted: true, Exit: 7890}: "KVM interprets code at CPL 0, as it is itself virtualised; 160ns an instruction there, 7.9µs an exit to the monitor",
	} {
		if got := found.String(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// try1 returns the result of Known, and fails the test if KVM does not work.
func try1(t *testing.T, how string) Found {
	t.Helper()
	f, err := Known(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", how, err)
	}
	return f
}

func TestATrialIsMadeOnceUntilTheHostIsAnother(t *testing.T) {
	open(t)
	if _, err := Run(t.Context()); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	path := filepath.Join(dir, "pith", "kvm.json")
	// No trial measures this time, so it can only come from the cache.
	const mark = 12345 * time.Hour
	if f := try1(t, "at first"); f.Exit <= 0 || f.Exit > timeout {
		t.Errorf("an exit takes %v", f.Exit)
	}
	k, err := read()
	if err != nil {
		t.Fatal(err)
	}
	k.Found.Exit = mark
	if err := write(k); err != nil {
		t.Fatal(err)
	}
	if f := try1(t, "again"); f.Exit != mark {
		t.Errorf("Known ran a trial although the cache has a result: %v", f)
	}
	for name, change := range map[string]func(*host){
		"start":  func(h *host) { h.Boot += "x" },
		"kernel": func(h *host) { h.Kernel += "x" },
		"device": func(h *host) { h.Device[1]++ },
	} {
		other := k
		change(&other.Host)
		if err := write(other); err != nil {
			t.Fatal(err)
		}
		if f := try1(t, name); f.Exit == mark {
			t.Errorf("Known used the cached result of a host with another %s", name)
		}
	}
	for name, content := range map[string]string{"nothing": "", "no JSON": "{", "another's": `{"Host":"x"}`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if f := try1(t, name); f.Exit <= 0 || f.Exit > timeout {
			t.Errorf("%s in the cache: %v", name, f)
		}
	}
	if err := write(k); err != nil {
		t.Fatal(err)
	}
	Forget()
	if f := try1(t, "forgotten"); f.Exit == mark {
		t.Error("Known used the cached result after Forget")
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("other files in the cache's directory: %v %v", left, err)
	}
}

func TestWithoutACacheEachIsATrial(t *testing.T) {
	open(t)
	if _, err := Run(t.Context()); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, ""} {
		t.Setenv("HOME", "")
		t.Setenv("XDG_CACHE_HOME", dir)
		if f := try1(t, dir); !strings.HasPrefix(f.String(), "KVM ") {
			t.Error(f)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	open(b)
	for b.Loop() {
		if _, err := Run(b.Context()); err != nil {
			b.Skip(err)
		}
	}
}

func BenchmarkKnown(b *testing.B) {
	open(b)
	b.Setenv("XDG_CACHE_HOME", b.TempDir())
	for b.Loop() {
		if _, err := Known(b.Context()); err != nil {
			b.Skip(err)
		}
	}
}
