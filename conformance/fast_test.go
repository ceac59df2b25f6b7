package main

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"
)

var onMonitors = flag.String("monitors", "", "run Go's tests of the fast selection on these monitors: plain,process,qemu")

// fast are the packages that CI runs. Their tests depend most on the library OS
// and on the virtual machine. Package runtime runs alone: on kvm, where CPL 0 is
// interpreted, it takes twice as long beside another. The rest run side by side,
// as go test runs packages, the longest first.
var fast = []string{
	"runtime", "time", "net/http", "crypto/tls", "os", "syscall", "os/signal",
	"sync", "net", "sync/atomic", "internal/poll", "database/sql", "io/fs",
}

// TestGoFast runs the fast selection. CI starts it by
//
//	go test -v -timeout 60m ./conformance -monitors process,qemu
//
// If plain is among the monitors, a test that fails there may fail in an image.
func TestGoFast(t *testing.T) {
	if *onMonitors == "" {
		t.Skip("no -monitors")
	}
	on, err := chooseMonitors(t.Context(), strings.Split(*onMonitors, ","))
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLab(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	list, err := parseExclusions(exclusionText, l.release())
	if err != nil {
		t.Fatal(err)
	}
	records := store{t.TempDir()}
	for _, name := range fast {
		t.Run(name, func(t *testing.T) {
			if name != "runtime" {
				t.Parallel()
			}
			var runs []run
			for _, m := range on {
				runs = append(runs, run{unit{name: name}, m})
			}
			r := &runner{
				lab: l, store: records, exclusions: list, timeout: 10 * time.Minute,
				left: len(runs), out: t.Output(),
			}
			good, err := r.runUnit(t.Context(), runs)
			if err != nil {
				t.Fatal(err)
			}
			if good {
				return
			}
			for _, m := range on {
				rec, err := r.store.load(m.name, name)
				if err != nil {
					t.Fatal(err)
				}
				if !rec.whole() {
					t.Errorf("%s: %s", m.name, rec.explain())
				}
			}
		})
	}
}

// explain returns all that a record has about its failures. Its lines do not look
// like lines of this test.
func (r *record) explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, exit code %d", r.Ended, r.ExitCode)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "\n%s", f.Test)
		for _, line := range f.Output {
			fmt.Fprintf(&b, "\n| %s", line)
		}
	}
	for _, line := range r.Output {
		fmt.Fprintf(&b, "\n| %s", line)
	}
	return b.String()
}
