package instance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// described is a monitor that has only a description.
type described struct {
	Monitor
	d Description
}

func (m described) Describe() *Description { return &m.d }

// Start fails. The package's Start must not call it for a wrong Spec.
func (described) Start(context.Context, *Launch) (Running, error) { return nil, errStarted }

var errStarted = errors.New("started")

// plugs is a network that needs these parts.
type plugs []Part

func (p plugs) Needs() []Part             { return p }
func (plugs) Open(*Launch) (*Plug, error) { return nil, errors.New("opened") }

func TestEachMistakeNamesItsPart(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	all := described{d: Description{
		Name: "all", MinMemory: 8 << 20, MaxDevices: 2, MachineTypes: []string{"pc", "mini"}, Accelerators: []string{"fast"},
		Can: []Part{Disks, Vsock, TAP, HugePages, MachineType, Accelerator, CPUModel, Debugger},
	}}
	plain := described{d: Description{Name: "plain"}}
	good := func() *Spec { return &Spec{Monitor: all, Memory: 64 << 20} }
	if err := good().Check(); err != nil {
		t.Fatal(err)
	}
	folder := func(host, guest string) func(*Spec) {
		return func(s *Spec) { s.Folders = append(s.Folders, Folder{Host: host, Guest: guest}) }
	}
	disk := func(path string) func(*Spec) { return func(s *Spec) { s.Disks = []Disk{{Path: path}} } }
	for name, test := range map[string]struct {
		change func(*Spec)
		part   Part
		want   string
	}{
		"no monitor":          {func(s *Spec) { s.Monitor = nil }, Runner, "no monitor"},
		"too little memory":   {func(s *Spec) { s.Memory = 1 << 20 }, Memory, "1M is too little: give at least 8M"},
		"a piece of a page":   {func(s *Spec) { s.HugePages, s.Memory = true, 65<<20 }, Memory, "65M is not a multiple of 2M"},
		"too many CPUs":       {func(s *Spec) { s.CPUs = MaxCPUs + 1 }, CPUs, "from 1 to 64"},
		"a negative CPU":      {func(s *Spec) { s.CPUs = -1 }, CPUs, "-1"},
		"a zero byte":         {func(s *Spec) { s.Env = []string{"A=\x00"} }, Arguments, "zero byte"},
		"a relative folder":   {func(s *Spec) { s.Dir = "a" }, Arguments, "not an absolute path"},
		"no folder":           {folder(filepath.Join(dir, "none"), "/a"), Folders, "there is no folder"},
		"a file for a folder": {folder(file, "/a"), Folders, "is not a folder"},
		"a relative path":     {folder(dir, "a"), Folders, "absolute path"},
		"a colon":             {folder(dir, "/a:b"), Folders, "colon"},
		"two at one place":    {func(s *Spec) { folder(dir, "/a")(s); folder(dir, "/a/")(s) }, Folders, "given twice"},
		"too many devices": {func(s *Spec) {
			folder(dir, "/a")(s)
			folder(dir, "/b")(s)
			disk(file)(s)
		}, Folders, "at most 2"},
		"no disk":            {disk(filepath.Join(dir, "none")), Disks, "there is no file"},
		"a folder as a disk": {disk(dir), Disks, "neither a file nor a block device"},
		"no folder of vsock": {func(s *Spec) { s.Vsock = filepath.Join(dir, "none", "s") }, Vsock, "there is no folder"},
		"a long path":        {func(s *Spec) { s.Vsock = "/" + strings.Repeat("a", 200) }, Vsock, "too long"},
		"ports, no network":  {func(s *Spec) { s.Ports = []Port{{Number: 80}} }, Ports, "without a network"},
		"ports at a tap":     {func(s *Spec) { s.Ports, s.Network = []Port{{Number: 80}}, plugs{TAP} }, Ports, "tap interface"},
		"one port twice":     {func(s *Spec) { s.Ports, s.Network = []Port{{Number: 80}, {Number: 80}}, plugs{} }, Ports, "twice"},
		"port 0":             {func(s *Spec) { s.Ports, s.Network = []Port{{}}, plugs{} }, Ports, "port 0"},
		"no such cgroup":     {func(s *Spec) { s.Cgroup = "/none" }, Cgroup, "/none"},
		"no such type":       {func(s *Spec) { s.Machine.Type = "abacus" }, MachineType, "abacus is not known: choose pc or mini"},
		"no such engine":     {func(s *Spec) { s.Machine.Accelerator = "steam" }, Accelerator, "steam is not known: choose fast"},
		"a space":            {func(s *Spec) { s.Machine.CPUModel = "a b" }, CPUModel, "space"},
		"no port":            {func(s *Spec) { s.Machine.Debugger = "host" }, Debugger, "HOST:PORT"},
		"not on this one":    {func(s *Spec) { s.Monitor = plain; disk(file)(s) }, Disks, "monitor plain cannot do this"},
		"no tap on this one": {func(s *Spec) { s.Monitor = plain; s.Network = plugs{TAP} }, TAP, "monitor plain cannot do this"},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.Image = os.Stdin
			test.change(s)
			_, err := Start(t.Context(), s)
			var e *Error
			if !errors.As(err, &e) || e.Part != test.part || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want one of %s with %q", err, test.part, test.want)
			}
		})
	}
}

func TestNeedsAreWhatIsAskedFor(t *testing.T) {
	s := &Spec{
		Disks: []Disk{{}}, Vsock: "x", HugePages: true, Network: plugs{TAP},
		Machine: Machine{Type: "a", Accelerator: "b", CPUModel: "c", Debugger: "d"},
	}
	want := []Part{MachineType, Accelerator, CPUModel, Debugger, Disks, Vsock, HugePages, TAP}
	if got := s.Needs(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := new(Spec).Needs(); len(got) > 0 {
		t.Errorf("needs of an empty Spec: %v", got)
	}
}

func TestHostnames(t *testing.T) {
	for name, ok := range map[string]bool{
		"": true, "pith": true, "web-1.example": true, "1a": true,
		"-a": false, "a-": false, "a..b": false, "a b": false, "ä": false,
		strings.Repeat("a", 64): false, strings.Repeat("a.", 32) + "b": false,
	} {
		if err := (&Spec{Hostname: name}).checkHostname(nil); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNothingStartsWithoutAnImageOrWhenTheContextIsDone(t *testing.T) {
	s := &Spec{Monitor: described{}}
	if _, err := Start(t.Context(), s); err == nil || errors.Is(err, errStarted) {
		t.Error(err)
	}
	s.Image = os.Stdin
	if _, err := Start(t.Context(), s); !errors.Is(err, errStarted) {
		t.Error(err)
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(done, s); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
