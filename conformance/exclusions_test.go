package main

import (
	"context"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/toolchain"
)

func TestExclusionsThatAreWrongAreRefused(t *testing.T) {
	for line, want := range map[string]string{
		"os TestX fork/exec":                     "form",
		"os TestX # why":                         "form",
		"os TestX slow # why":                    "not a reason",
		"os TestX cgo 1.26 # why":                "not a Go release",
		"os main cgo # why":                      "is for programs",
		"test/a.go TestX cgo # why":              "is for programs",
		"os TestX cgo # a\nos TestX ptrace # b":  "excluded already",
		"os TestX cgo go1.26 more words # of it": "form",
	} {
		if _, err := parseExclusions(line, "go1.26"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", line, err, want)
		}
	}
}

func TestExclusionsOfAnotherReleaseDoNotHold(t *testing.T) {
	const text = `
# a comment
os TestAlways fork/exec # starts itself
os TestNow/sub_1 setuid go1.26 # another user
os TestLater setuid go1.27 # another user
net TestOther cgo # calls C
test/a.go main fork/exec # runs go
`
	list, err := parseExclusions(text, "go1.26")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list.of("os").skip(), "^TestAlways$|^TestNow$/^sub_1$"; got != want {
		t.Errorf("-test.skip=%s, want %s", got, want)
	}
	if len(list) != 4 {
		t.Errorf("%d exclusions, want 4", len(list))
	}
	units := []unit{{name: "os"}, {name: "net"}}
	if err := list.known(units); err != nil {
		t.Errorf("%v, of a distribution without programs", err)
	}
	units = append(units, unit{"test/b.go", &program{file: "b.go"}})
	if err := list.known(units); err == nil || !strings.Contains(err.Error(), "test/a.go") {
		t.Errorf("error %v for a program that is not there", err)
	}
}

func TestTheListOfExclusionsIsInOrder(t *testing.T) {
	if len(reasons) > 8 {
		t.Errorf("%d reasons: at most 8", len(reasons))
	}
	for _, s := range toolchain.Supported {
		if _, err := parseExclusions(exclusionText, "go"+s); err != nil {
			t.Error(err)
		}
	}
}

func TestAnExclusionOfATestThatIsNotThereIsFound(t *testing.T) {
	root, _, err := toolchain.Find(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	d := (&lab{dir: t.TempDir()}).plainDistribution(root)
	binary, err := d.buildTests(context.Background(), t.TempDir(), "errors")
	if err != nil {
		t.Fatal(err)
	}
	there := exclusions{{unit: "errors", test: "TestIs/sub"}, {unit: "errors", test: "ExampleJoin"}}
	if err := there.found(binary); err != nil {
		t.Error(err)
	}
	if err := (exclusions{{unit: "errors", test: "TestGone"}}).found(binary); err == nil {
		t.Error("no error for a test that is not there")
	}
}
