package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// given is a document of a few records. os fails on plain Linux too, net in images
// alone. The record of time is of an older Pith. net did not run on qemu.
func given(t *testing.T) *document {
	t.Helper()
	records := make(map[string]*record)
	put := func(m string, r record) {
		r.Monitor, r.Key = m, "new"
		if r.When.IsZero() {
			r.When = made
		}
		records[m+" "+r.Unit] = &r
	}
	put(plain, record{Unit: "os", Ended: endedFailed, Passed: 9, Failed: 1, Skipped: 1, Skips: []string{"TestA"}, Failures: []failure{{Test: "TestRoot"}}})
	put("process", record{Unit: "os", Ended: endedFailed, Passed: 7, Failed: 1, Skipped: 2, Excluded: 2, Skips: []string{"TestA", "TestExec"}, Failures: []failure{{Test: "TestRoot"}}})
	put(plain, record{Unit: "net", Ended: endedOK, Passed: 5})
	put("process", record{Unit: "net", Ended: endedCrash, Passed: 4, Failed: 1, Failures: []failure{{Test: "TestDial|x"}}, Output: []string{"panic: no"}})
	put("process", record{Unit: "time", Ended: endedOK, Passed: 3, Skipped: 1, Seconds: 1.25, When: made.Add(-49 * time.Hour)})
	put("qemu", record{Unit: "time", Ended: endedOK, Excluded: 3})
	put("process", record{Unit: "test/a.go", Ended: endedFailed, Failed: 1, Failures: []failure{{Test: wholeProgram, Output: []string{"got 1"}}}})
	records["process time"].Key = "old"
	all := &collection{
		units:   []unit{{name: "net"}, {name: "os"}, {name: "time"}, {"test/a.go", &program{file: "a.go"}}, {"test/b.go", &program{file: "b.go"}}},
		leftOut: map[string][]string{"runoutput: is": {"test/c.go"}},
	}
	list := exclusions{{"os", "TestFork", "fork/exec", "starts itself"}}
	d, err := collect(all, list,
		func(m, unit string) (*record, error) { return records[m+" "+unit], nil },
		func(unit, monitor) string { return "new" })
	if err != nil {
		t.Fatal(err)
	}
	d.Made, d.Command = made, "go run ./conformance --write"
	return d
}

func TestTheScoreCountsWhatPassesWhole(t *testing.T) {
	d := given(t)
	if len(d.Monitors) != 3 {
		t.Fatalf("%d monitors have records, want 3", len(d.Monitors))
	}
	want := []struct {
		monitor            string
		packages, programs units
		older              int
	}{
		{plain, units{All: 3, Run: 2, Whole: 1, Failed: 1}, units{All: 2}, 0},
		{"process", units{All: 3, Run: 3, Whole: 1, FailedOnPlain: 1, Failed: 1}, units{All: 2, Run: 1, Failed: 1}, 1},
		{"qemu", units{All: 3, Run: 1, Whole: 1, Empty: 1}, units{All: 2}, 0},
	}
	for i, w := range want {
		s := d.Monitors[i]
		if s.Monitor != w.monitor || s.Packages != w.packages || s.Programs != w.programs || s.Older != w.older {
			t.Errorf("%+v, want %+v", s, w)
		}
	}
	if n := d.Monitors[1].Tests; n.Passed != 14 || n.Failed != 2 || n.Excluded != 2 || n.FailedOnPlain != 1 || n.Skipped != 3 || n.RunOnPlain != 1 {
		t.Errorf("tests on process: %+v", n)
	}
}

func TestThePageNamesFailuresExclusionsAndAge(t *testing.T) {
	page := given(t).markdown()
	for _, want := range []string{
		"go run ./conformance --write\n",
		"| **pass whole** | 1 | 1 | 1 |\n| **percent** | **33.3** | **33.3** | **33.3** |\n",
		"| os | process | failed | `TestRoot` (on plain Linux too) |\n",
		"| net | process | crash | `TestDial\\|x`, `panic: no` |\n",
		"| test/a.go | process | failed | `got 1` |\n",
		"### fork/exec: 1\n",
		"- os `TestFork`: starts itself\n",
		"- 1: runoutput: is\n",
		"| time | not run | ok 3 1s, 1.2 (older, 49h0m0s) | ok 0 3e, 0.0 |\n",
		"| os | **failed** 9 1f 1s, 0.0 | **failed** 7 1f 2s 2e, 0.0 | not run |\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestTheDocumentComesBackFromJSON(t *testing.T) {
	data, err := json.Marshal(given(t))
	if err != nil {
		t.Fatal(err)
	}
	var back document
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if f := back.Packages[1].On["process"].Failures; len(f) != 1 || !f[0].OnPlain {
		t.Errorf("failures of os on process: %+v", f)
	}
}
