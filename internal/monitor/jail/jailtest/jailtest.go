// Package jailtest checks tables of permitted system calls and writes them to
// the page that documents them.
package jailtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/internal/monitor/jail"
)

// Check checks that each row has a reason and a description of its rules. It also checks
// that the table permits at most most system calls.
func Check(t *testing.T, table []jail.Call, most int) {
	t.Helper()
	names := map[uint32]string{}
	free := map[uint32]bool{}
	for _, c := range table {
		if name, ok := names[c.Number]; ok && (name != c.Name || free[c.Number]) {
			t.Errorf("%s is there twice", c.Name)
		}
		names[c.Number] = c.Name
		free[c.Number] = len(c.Rules) == 0
		if c.Reason == "" {
			t.Errorf("%s has no reason", c.Name)
		}
		if (c.Text == "") != (len(c.Rules) == 0) {
			t.Errorf("%s: the text %q does not fit its %d rules", c.Name, c.Text, len(c.Rules))
		}
	}
	if len(names) > most {
		t.Errorf("%d system calls are permitted", len(names))
	}
}

// Document checks that a document has the table between the lines start and end. If
// update is set, it writes the table there.
func Document(t *testing.T, document, start, end string, table []jail.Call, update bool) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| System call | Why | Arguments |\n|---|---|---|\n")
	for _, c := range table {
		text := c.Text
		if text == "" {
			text = "any"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Name, c.Reason, text)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), start)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", document)
	}
	if old == b.String() {
		return
	}
	if !update {
		t.Fatalf("the table in %s differs from calls.go: update it with -update", document)
	}
	if err := os.WriteFile(document, []byte(before+start+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
