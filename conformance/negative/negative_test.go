package negative

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/network"
)

// monitors are those under test.
var monitors = []instance.Monitor{process.Monitor{}}

func TestMain(m *testing.M) {
	process.Main()
	os.Exit(harness.Main(m))
}

func TestAttemptsEndAsTheyMust(t *testing.T) {
	for _, mon := range monitors {
		t.Run(mon.Describe().Name, func(t *testing.T) {
			if how, err := mon.Probe(t.Context()); err != nil {
				t.Skipf("this host cannot run images: %v", err)
			} else {
				t.Log(how)
			}
			for _, a := range All() {
				t.Run(a.Name, func(t *testing.T) { try(t, mon, a, nil) })
			}
			for _, a := range HostNetwork() {
				t.Run("host network/"+a.Name, func(t *testing.T) { try(t, mon, a, network.Host{}) })
			}
		})
	}
}

func try(t *testing.T, mon instance.Monitor, a Attempt, net instance.Network) {
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, a.Image(), 0o755); err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	code, err := instance.Run(t.Context(), &instance.Spec{
		Monitor: mon, Image: image, Args: []string{a.Name}, CPUs: 1, Memory: 16 << 20, Network: net,
	})
	switch {
	case err != nil:
		t.Error(err)
	case code == NotStopped:
		t.Error("was not stopped")
	case End(code) != a.End:
		t.Errorf("ended with %d, must end with %d", code, a.End)
	}
}
