package kvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/kvm/probe"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/internal/network"
	"github.com/pith-os/pith/libos/boot"
)

// needKVM skips a test if KVM does not run code on this host.
func needKVM(t *testing.T) {
	t.Helper()
	if _, err := probe.Run(t.Context()); err != nil {
		t.Skip(err)
	}
}

// imageFile returns an open file with the given contents.
func imageFile(t *testing.T, contents []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, contents, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// ending returns an image that writes a line and ends with an exit code.
func ending(code int) []byte {
	var m tinyelf.Machine
	m.Out(boot.DebugText, "said early\n")
	m.Out(boot.DebugControl, boot.MachineExit(code).String()+"\n")
	m.Out(boot.DebugExit, "\x00")
	m.Halt()
	return m.Bytes()
}

// hanging returns an image that writes a line and never ends.
func hanging() []byte {
	var m tinyelf.Machine
	m.Out(boot.DebugText, "started\n")
	m.Forever(func() {})
	return m.Bytes()
}

// config returns a Spec for the image, and the file that receives its standard error.
func config(t *testing.T, image []byte) (*instance.Spec, *os.File) {
	t.Helper()
	needKVM(t)
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	return &instance.Spec{
		Monitor: Monitor{}, Image: imageFile(t, image), Args: []string{"image"}, CPUs: 1, Memory: 16 << 20, Stderr: stderr,
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

func TestExitCodeAndWordsOfTheMachine(t *testing.T) {
	for _, code := range []int{0, 7, 255} {
		for _, cpus := range []int{1, 3} {
			c, stderr := config(t, ending(code))
			c.CPUs = cpus
			got, err := instance.Run(t.Context(), c)
			if err != nil || got != code || contents(t, stderr) != "said early\n" {
				t.Errorf("exit code %d, %v, %q, want %d", got, err, contents(t, stderr), code)
			}
		}
	}
}

func TestMachinesThatEndWithoutACode(t *testing.T) {
	var silent, wrong, fault tinyelf.Machine
	silent.Out(boot.DebugExit, "\x00")
	wrong.Out(boot.DebugControl, "exit 256\nexit\nexit -1\n"+strings.Repeat("exit 1", 5000)+"\n")
	wrong.Out(boot.DebugExit, "\x00")
	fault.Raw(0x0f, 0x01, 0x1d, 0, 0, 0, 0) // LIDT [0]: no interrupt table
	fault.Raw(0x0f, 0x0b)                   // UD2, a triple fault
	for name, test := range map[string]struct {
		image *tinyelf.Machine
		want  string
	}{
		"it ends at once":          {&silent, "without an exit code"},
		"with codes that are none": {&wrong, "without an exit code"},
		"by a triple fault":        {&fault, "the image crashed: it reset the virtual machine (ip 0x"},
	} {
		c, _ := config(t, test.image.Bytes())
		if code, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d, %v, want an error with %q", name, code, err, test.want)
		}
	}
}

// Accesses to addresses and ports without a device do nothing.
func TestAccessesToNothing(t *testing.T) {
	var m tinyelf.Machine
	for _, addr := range []uint32{deviceBase - 4, deviceBase, deviceBase + 0x50, deviceBase + maxDevices<<12, 0xfffffffc, lowEnd} {
		m.Store(addr, 0xffffffff)
	}
	for _, port := range []uint16{0, 0x60, 0x3f8, 0xcf8, 0xffff} {
		m.Out(port, "\xff")
	}
	m.Until(deviceBase-4, 0xffffffff, 0xffffffff, func() {})
	m.Out(boot.DebugControl, "exit 5\n")
	m.Out(boot.DebugExit, "\x00")
	c, stderr := config(t, m.Bytes())
	if code, err := instance.Run(t.Context(), c); err != nil || code != 5 {
		t.Errorf("%d, %v, %q", code, err, contents(t, stderr))
	}
}

func TestBootParametersArrive(t *testing.T) {
	var m tinyelf.Machine
	m.OutModule(boot.DebugText)
	m.Out(boot.DebugControl, "exit 0\n")
	m.Out(boot.DebugExit, "\x00")
	c, _ := config(t, m.Bytes())
	c.Args = []string{"web", "", "-flag=a b,c"}
	c.Hostname = "host"
	c.Folders = []instance.Folder{{Host: t.TempDir(), Guest: "/data", ReadOnly: true}}
	for _, length := range []int{0, lineEnd - lineAddr, 200_000} {
		stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		defer stderr.Close()
		c.Stderr = stderr
		c.Env = []string{"A=b", "LONG=" + strings.Repeat("x", length)}
		if code, err := instance.Run(t.Context(), c); err != nil || code != 0 {
			t.Fatalf("%d bytes: %d, %v", length, code, err)
		}
		line := contents(t, stderr)
		got, err := boot.Parse(line)
		if err != nil || got.Hostname != "host" || len(got.Mounts) != 1 || len(got.Args) != 3 || got.Args[2] != "-flag=a b,c" ||
			got.Env[1] != c.Env[1] || got.PID != 1 || got.Clock.Time == 0 || len(got.Devices) != 4 {
			t.Errorf("%d bytes: %v, %.200q", length, err, line)
		}
	}
	c.Env = []string{"A=" + strings.Repeat("x", boot.MaxLine)}
	if _, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "a virtual machine takes 1048575") {
		t.Error(err)
	}
}

func TestFailuresSayWhatTheMatterIs(t *testing.T) {
	good := ending(0)
	noNote := []byte(strings.Replace(string(good), "Xen\x00", "Zen\x00", 1))
	text, err := os.ReadFile("machine_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		image  []byte
		change func(c *instance.Spec)
		want   string
	}{
		"an empty file":     {nil, nil, "read "},
		"a text":            {text, nil, "bad magic number"},
		"half a header":     {good[:50], nil, "read "},
		"half an image":     {good[:len(good)/2], nil, "does not boot: it has no note of its entry (PVH)"},
		"no PVH note":       {noNote, nil, "does not boot: it has no note of its entry (PVH)"},
		"too little memory": {good, func(c *instance.Spec) { c.Memory = 2 << 20 }, "memory: 2M is too little: give at least 8M"},
		"a folder that is not there": {good, func(c *instance.Spec) {
			c.Folders = []instance.Folder{{Host: "/nonexistent", Guest: "/a"}}
		}, "/nonexistent"},
		"a disk that is not there": {good, func(c *instance.Spec) { c.Disks = []instance.Disk{{Path: "/nonexistent"}} },
			"there is no file /nonexistent"},
		"an empty disk": {good, func(c *instance.Spec) { c.Disks = []instance.Disk{{Path: imageFile(t, nil).Name()}} },
			"disk "},
		"a cgroup that is not there": {good, func(c *instance.Spec) { c.Cgroup = "/nonexistent" }, "/nonexistent"},
		"more memory than there is":  {good, func(c *instance.Spec) { c.Memory = 1 << 62 }, "memory of 4611686018427387904 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := config(t, test.image)
			if test.change != nil {
				test.change(c)
			}
			if code, err := instance.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("exit code %d, %v, want an error with %q", code, err, test.want)
			}
		})
	}
}

// A segment must be inside the file, above the start information and below the end of memory.
func TestSegmentsThatCannotBe(t *testing.T) {
	good := ending(0)
	le := binary.LittleEndian
	const header, offset, physical, inFile, size = 64, 8, 24, 32, 40 // struct Elf64_Phdr, the first one
	for name, damage := range map[string]func(file []byte) []byte{
		"the file is shorter":      func(b []byte) []byte { return b[:bytes.Index(b, []byte{0xb0, 's'})] },
		"more than the file":       func(b []byte) []byte { le.PutUint64(b[header+inFile:], 1<<20); return b },
		"behind the file":          func(b []byte) []byte { le.PutUint64(b[header+offset:], 1<<40); return b },
		"at address 0":             func(b []byte) []byte { le.PutUint64(b[header+physical:], 0); return b },
		"among the devices":        func(b []byte) []byte { le.PutUint64(b[header+physical:], deviceBase); return b },
		"around the end":           func(b []byte) []byte { le.PutUint64(b[header+physical:], 0xfffffffffffff000); return b },
		"larger than the memory":   func(b []byte) []byte { le.PutUint64(b[header+size:], 1<<40); return b },
		"smaller than in the file": func(b []byte) []byte { le.PutUint64(b[header+size:], 1); return b },
	} {
		image := imageFile(t, damage(bytes.Clone(good)))
		if m, err := newMemory(16<<20, image, false); err == nil || !strings.Contains(err.Error(), "cannot be mapped") {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
}

func TestMachineWithANetworkEnds(t *testing.T) {
	for _, cpus := range []int{1, 3} {
		c, _ := config(t, ending(6))
		c.Network, c.CPUs = network.User{}, cpus
		if code, err := instance.Run(context.Background(), c); err != nil || code != 6 {
			t.Errorf("exit code %d, %v", code, err)
		}
	}
}
