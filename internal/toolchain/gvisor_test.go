package toolchain

import (
	"os/exec"
	"strings"
	"testing"
)

// moduleDir is where the go command keeps a module of this module's go.mod.
func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	return strings.TrimSpace(string(out)), err
}

func TestNetworkStackImportsNothingItShouldNot(t *testing.T) {
	files, err := gvisorFiles(moduleDir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 200 {
		t.Errorf("%d files, a network stack has more", len(files))
	}
	for name, data := range files {
		for _, refused := range []string{
			`"net"`, `"encoding/json"`, `"regexp"`, `"golang.org/x/sys/unix"`,
			`"gvisor.dev/gvisor/pkg/state"`, "//go:inline", "//go:build pith",
		} {
			if strings.Contains(string(data), "\n"+refused) || strings.Contains(string(data), "\t"+refused) {
				t.Errorf("%s contains %s", name, refused)
			}
		}
	}
}
