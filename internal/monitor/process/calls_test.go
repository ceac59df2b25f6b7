package process

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the table of system calls to docs/security.md")

// The lines around the table in docs/security.md.
const (
	document   = "../../../docs/security.md"
	tableStart = "<!-- system calls: go test ./internal/monitor/process -run Table -update -->\n"
	tableEnd   = "<!-- end -->\n"
)

// any instance will do for the words of the table.
var table = permitted(bounds{pid: 1})

func TestAtMost24SystemCalls(t *testing.T) {
	seen := map[uint32]bool{}
	for _, c := range table {
		if seen[c.number] {
			t.Errorf("%s is there twice", c.name)
		}
		seen[c.number] = true
		if c.reason == "" {
			t.Errorf("%s has no reason", c.name)
		}
		if (c.bound == "") != (len(c.rules) == 0) {
			t.Errorf("%s: the words %q do not fit its %d rules", c.name, c.bound, len(c.rules))
		}
	}
	if len(table) > 24 {
		t.Errorf("%d system calls are permitted", len(table))
	}
}

func TestTableOfTheDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("| System call | Why | Arguments |\n|---|---|---|\n")
	for _, c := range table {
		bound := c.bound
		if bound == "" {
			bound = "any"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.name, c.reason, bound)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableStart)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", document)
	}
	if old == b.String() {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not that of calls.go; write it with -update", document)
	}
	if err := os.WriteFile(document, []byte(before+tableStart+b.String()+tableEnd+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFilterFitsEveryInstance(t *testing.T) {
	for _, b := range []bounds{
		{pid: 1},
		{pid: 4194304, network: true, listeners: 1},
		{pid: 1, network: true, folders: true, listeners: 1000, exec: execCall{1008, 0xc000000001, 0xc000001000, 0xc000002000}},
	} {
		code, err := filter(b)
		if err != nil {
			t.Error(err)
		}
		if len(code) > unix.BPF_MAXINSNS {
			t.Errorf("%d instructions", len(code))
		}
	}
}
