package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// events writes events as test2json does.
func events(t *testing.T, list []event) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, e := range list {
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func TestEventsAreCountedAndFailuresKeepTheirOutput(t *testing.T) {
	var log strings.Builder
	r, err := readEvents(strings.NewReader(events(t, []event{
		{Action: "start"},
		{"run", "TestGood", ""}, {"output", "TestGood", "=== RUN   TestGood\n"}, {"output", "TestGood", "fine\n"}, {"pass", "TestGood", ""},
		{"run", "TestSkip", ""}, {"skip", "TestSkip", ""},
		{"run", "TestBad", ""},
		{"run", "TestBad/a", ""}, {"output", "TestBad/a", "    x_test.go:1: no\n"}, {"fail", "TestBad/a", ""},
		{"run", "TestBad/b", ""}, {"pass", "TestBad/b", ""},
		{"fail", "TestBad", ""},
		{"output", "", "FAIL\n"}, {"fail", "", ""},
	})), &log)
	if err != nil {
		t.Fatal(err)
	}
	if r.passed != 2 || !slices.Equal(r.skipped, []string{"TestSkip"}) || !r.complete {
		t.Errorf("passed %d, skipped %v, complete %v; want 2, TestSkip, true", r.passed, r.skipped, r.complete)
	}
	want := []failure{{"TestBad/a", []string{"    x_test.go:1: no"}}}
	if got := r.failures(); !reflect.DeepEqual(got, want) {
		t.Errorf("failures %v, want %v", got, want)
	}
	if want := "=== RUN   TestGood\nfine\n    x_test.go:1: no\nFAIL\n"; log.String() != want {
		t.Errorf("log %q, want %q", log.String(), want)
	}
}

func TestWhatWasUnderWayAtACrashFailed(t *testing.T) {
	r, err := readEvents(strings.NewReader(events(t, []event{
		{"run", "TestPaused", ""}, {"pause", "TestPaused", ""},
		{"run", "TestOther", ""}, {"output", "TestOther", "panic: of a child, which was expected\n"}, {"pass", "TestOther", ""},
		{"run", "TestOuter", ""}, {"run", "TestOuter/inner", ""},
		{"output", "TestOuter/inner", "fatal error: all is lost\n"}, {"output", "TestOuter/inner", "goroutine 1:\n"},
	})), &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	if r.complete {
		t.Error("complete without PASS or FAIL")
	}
	if want := []failure{{"TestOuter/inner", nil}}; !reflect.DeepEqual(r.failures(), want) {
		t.Errorf("failures %v, want %v", r.failures(), want)
	}
	if want := []string{"fatal error: all is lost", "goroutine 1:"}; !reflect.DeepEqual(r.last, want) {
		t.Errorf("the crash is %q, want %q", r.last, want)
	}
}

func TestALongCrashIsKeptFromItsBeginning(t *testing.T) {
	list := []event{{"output", "", "panic: first\n"}}
	for range 2 * crashLines {
		list = append(list, event{"output", "", "goroutine\n"})
	}
	r, err := readEvents(strings.NewReader(events(t, list)), &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.last) != crashLines || r.last[0] != "panic: first" {
		t.Errorf("%d lines, from %q", len(r.last), r.last[0])
	}
}
