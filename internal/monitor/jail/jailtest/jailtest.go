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

// Check checks that each row has its reason and its words, and that there are
// no more system calls than most.
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
		if (c.Words == "") != (len(c.Rules) == 0) {
			t.Errorf("%s: the words %q do not fit its %d rules", c.Name, c.Words, len(c.Rules))
		}
	}
	if len(names) > most {
		t.Errorf("%d system calls are permitted", len(names))
	}
}

// Document checks that a document has the table between two lines, or puts it
// there.
func Document(t *testing.T, document, start, end string, table []jail.Call, update bool) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| System call | Why | Arguments |\n|---|---|---|\n")
	for _, c := range table {
		words := c.Words
		if words == "" {
			words = "any"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Name, c.Reason, words)
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
		t.Fatalf("the table in %s is not that of calls.go; write it with -update", document)
	}
	if err := os.WriteFile(document, []byte(before+start+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
