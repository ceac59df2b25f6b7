package toolchain

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// One table has the number of each call between the layers in a VM, and both sides use the
// names in it.
func TestCallNumbersStandInOneTable(t *testing.T) {
	files := tree{}
	if err := files.addMachine(); err != nil {
		t.Fatal(err)
	}
	if err := files.addLibOS(); err != nil {
		t.Fatal(err)
	}
	below, above := files["src/runtime/pith_calls.go"], files["src/pith/"+callNumbers]
	if got := bytes.Replace(below, []byte("package runtime"), []byte("package platform"), 1); len(above) == 0 || !bytes.Equal(got, above) {
		t.Errorf("package runtime has another table than package platform:\n%s", below)
	}
	f, err := parser.ParseFile(token.NewFileSet(), callNumbers, above, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range f.Decls {
		for _, s := range d.(*ast.GenDecl).Specs {
			names = append(names, s.(*ast.ValueSpec).Names[0].Name)
		}
	}
	if len(names) < 20 {
		t.Fatalf("only %d calls: %v", len(names), names)
	}
	nucleus, vm, platform := sources(t, "nucleus"), sources(t, "vm"), sources(t, "libos/platform")
	for _, name := range names {
		made, answered := vm, nucleus
		if strings.HasPrefix(name, "platform") {
			made, answered = platform, vm
		}
		word := regexp.MustCompile(`\b(const_)?` + name + `\b`)
		if !word.MatchString(made) {
			t.Errorf("no code makes the call %s", name)
		}
		if !word.MatchString(answered) {
			t.Errorf("no code handles the call %s", name)
		}
		again := regexp.MustCompile(`(?m)^\t(const )?` + name + `\b\s*=`)
		if again.MatchString(nucleus + vm + platform) {
			t.Errorf("%s has a number outside of %s", name, callNumbers)
		}
	}
}

// sources returns the sources in a folder of this module, without tests and the table
// itself.
func sources(t *testing.T, dir string) string {
	var all strings.Builder
	names, err := filepath.Glob("../../" + dir + "/*.[gs]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == filepath.Base(callNumbers) {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}
