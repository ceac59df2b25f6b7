package platform

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// function is a declaration of this package. Its key is the signature.
type function struct {
	name     string
	where    string
	exported bool
	body     bool // else the runtime defines it
}

// declarations returns the functions in the files that a build with the tag pith
// has, or in those that a build without it has.
func declarations(t *testing.T, pith bool) map[string]function {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]function{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		other := "//go:build pith\n"
		if pith {
			other = "//go:build !pith\n"
		}
		if strings.HasSuffix(name, "_test.go") || bytes.HasPrefix(data, []byte(other)) {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, data, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			head := *fn
			head.Doc, head.Body = nil, nil
			var sig bytes.Buffer
			if err := printer.Fprint(&sig, fset, &head); err != nil {
				t.Fatal(err)
			}
			all[sig.String()] = function{fn.Name.Name, fset.Position(fn.Pos()).String(), fn.Name.IsExported(), fn.Body != nil}
		}
	}
	return all
}

// contract returns the signatures that the head of platform.go lists.
func contract(t *testing.T) map[string]bool {
	t.Helper()
	data, err := os.ReadFile("platform.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^// (func .+)$`).FindAllStringSubmatch(string(data), -1) {
		if listed[m[1]] {
			t.Errorf("platform.go lists %q twice", m[1])
		}
		listed[m[1]] = true
	}
	return listed
}

// TestTheContractListsEveryFunction compares the head of platform.go with what the
// library OS can call and with what the runtime must define, both ways.
func TestTheContractListsEveryFunction(t *testing.T) {
	declared, listed := declarations(t, true), contract(t)
	for sig, f := range declared {
		if (f.exported || !f.body) && !listed[sig] {
			t.Errorf("%s: the contract in platform.go does not list %q", f.where, sig)
		}
	}
	for sig := range listed {
		if f, ok := declared[sig]; !ok || !f.exported && f.body {
			t.Errorf("the contract in platform.go lists %q, which this package does not declare", sig)
		}
	}
	if len(listed) < 60 {
		t.Errorf("the contract in platform.go lists only %d functions", len(listed))
	}
}

// TestTheHostedPlatformDefinesTheContract compares the files for tests on Linux
// with the real ones. Names with Hosted are for tests.
func TestTheHostedPlatformDefinesTheContract(t *testing.T) {
	declared, hosted := declarations(t, true), declarations(t, false)
	for sig, f := range declared {
		if _, ok := hosted[sig]; f.exported && !ok {
			t.Errorf("%s: no hosted file defines %q", f.where, sig)
		}
	}
	for sig, f := range hosted {
		if _, ok := declared[sig]; f.exported && !ok && !strings.HasPrefix(f.name, "Hosted") {
			t.Errorf("%s: only a hosted file defines %q", f.where, sig)
		}
	}
}

// TestTheRuntimeDefinesItsPart looks for the other end of each function without a
// body: a linkname to or from package runtime or time.
func TestTheRuntimeDefinesItsPart(t *testing.T) {
	defined := map[string]bool{}
	for _, pattern := range []string{"*.go", "../../vm/*.go", "../../internal/toolchain/std/runtime/*.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil || names == nil {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?m)^//go:linkname (\w+) ([\w./]+)$`).FindAllStringSubmatch(string(data), -1) {
				if to, ok := strings.CutPrefix(m[2], "pith/libos/platform."); ok {
					defined[to] = true
				} else if filepath.Dir(name) == "." {
					defined[m[1]] = true
				}
			}
		}
	}
	bodiless := map[string]bool{}
	for sig, f := range declarations(t, true) {
		if f.body {
			continue
		}
		bodiless[f.name] = true
		if !defined[f.name] {
			t.Errorf("%s: package runtime does not define %q", f.where, sig)
		}
	}
	for name := range defined {
		if !bodiless[name] {
			t.Errorf("package runtime defines %s, which this package does not declare", name)
		}
	}
}
