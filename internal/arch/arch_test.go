package arch

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/toolchain"
)

var update = flag.Bool("update", false, "write the list anew")

const (
	listFile = "arm64.txt"
	module   = "github.com/pith-os/pith/"
)

// The list is complete and has nothing else: for arm64, this module and the derived
// distribution lack only the names in it.
func TestARM64LacksOnlyWhatTheListNames(t *testing.T) {
	if testing.Short() {
		t.Skip("type-checks the standard library")
	}
	c := newChecker()
	for _, p := range list(t, "../..", nil, "-test", "./...") {
		c.check(p, p.Module != nil && p.Module.Main)
	}
	d, err := toolchain.Derive(t.Context(), ".", nil)
	if err != nil {
		t.Fatal(err)
	}
	clear(c.packages)
	env := []string{"GOROOT=" + d.Root, "GOTOOLCHAIN=local", "GOWORK=off"}
	for _, p := range list(t, filepath.Join(d.Root, "src"), env, "runtime/debug", "net", "pith/libos/...") {
		c.check(p, p.ImportPath == "runtime" || p.ImportPath == "syscall" || strings.HasPrefix(p.ImportPath, "pith/"))
	}
	for _, e := range c.errors {
		t.Error(e)
	}
	data, err := os.ReadFile(listFile)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{} // lines that are not yet needed
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			listed[line] = false
		}
	}
	for missing := range c.missing {
		found := false
		for line := range listed {
			if prefix, ok := strings.CutSuffix(line, "*"); line == missing || ok && strings.HasPrefix(missing, prefix) {
				listed[line], found = true, true
			}
		}
		if !found {
			if *update {
				listed[missing] = true
			} else {
				t.Errorf("for arm64 this is not defined, and the list does not name it: %s", missing)
			}
		}
	}
	for line, needed := range listed {
		if !needed && !*update {
			t.Errorf("the list names what arm64 has or does not need: %s", line)
		}
		if !needed {
			delete(listed, line)
		}
	}
	if *update {
		write(t, string(data), listed)
	}
}

// write writes the list behind its comment.
func write(t *testing.T, old string, listed map[string]bool) {
	var b strings.Builder
	for line := range strings.Lines(old) {
		if strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	last := ""
	for _, line := range slices.Sorted(maps.Keys(listed)) {
		if pkg, _, _ := strings.Cut(line, " "); pkg != last {
			b.WriteByte('\n')
			last = pkg
		}
		fmt.Fprintln(&b, line)
	}
	if err := os.WriteFile(listFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
