package link

import (
	"os/exec"
	"strings"
	"testing"
)

// A monitor, a device and a tap interface know the network by this package
// alone. A monitor that imports the gateway would bring gVisor into the VMM.
func TestOnlyTheGatewayImportsGVisor(t *testing.T) {
	const internal = "github.com/pith-os/pith/internal/"
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}}: {{join .Deps \" \"}}",
		internal+"link", internal+"tap", internal+"device/...", internal+"monitor/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name, deps, _ := strings.Cut(line, ":")
		for _, dep := range strings.Fields(deps) {
			if dep == internal+"gateway" || strings.HasPrefix(dep, "gvisor.dev/") {
				t.Errorf("%s imports %s", name, dep)
				break
			}
		}
	}
}
