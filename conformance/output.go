package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// How many lines of output a record keeps.
const (
	testLines  = 20 // of a test that failed
	crashLines = 40
)

// results collects the events of go tool test2json.
type results struct {
	passed          int
	skipped, failed []string
	complete        bool     // the binary printed PASS or FAIL last
	last            []string // the last lines, or the lines from the crash on

	open    map[string]bool // tests in progress; true: not paused
	output  map[string][]string
	crashed bool // the lines of a crash have begun
}

// event is a line of test2json's output: see go doc test2json.
type event struct {
	Action, Test, Output string
}

// crashBegins matches the first line that the runtime or pith prints at a fatal
// error.
var crashBegins = regexp.MustCompile(`^(panic: |fatal error: |SIG[A-Z]+: |pith: )`)

// readEvents reads a run's events to their end and copies the output to log.
func readEvents(events io.Reader, log io.Writer) (*results, error) {
	r := &results{open: make(map[string]bool), output: make(map[string][]string)}
	for dec := json.NewDecoder(events); ; {
		var e event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return r, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the output of test2json: %w", err)
		}
		if e.Action == "output" {
			if _, err := io.WriteString(log, e.Output); err != nil {
				return nil, err
			}
		}
		r.add(e)
	}
}

func (r *results) add(e event) {
	switch e.Action {
	case "output":
		r.addOutput(e)
	case "run", "cont":
		r.open[e.Test] = true
	case "pause":
		r.open[e.Test] = false
	case "pass", "skip", "fail":
		if e.Test == "" {
			return // the package's result: the exit code says more
		}
		delete(r.open, e.Test)
		switch e.Action {
		case "pass":
			r.passed++
		case "skip":
			r.skipped = append(r.skipped, e.Test)
		case "fail":
			r.failed = append(r.failed, e.Test)
			return // its output is still needed
		}
		delete(r.output, e.Test)
	}
}

func (r *results) addOutput(e event) {
	line := strings.TrimRight(e.Output, "\n")
	if e.Test == "" && (line == "PASS" || line == "FAIL") {
		r.complete = true
	}
	if e.Test != "" && !strings.HasPrefix(line, "=== ") {
		r.output[e.Test] = lastLines(append(r.output[e.Test], line), testLines)
	}
	if crashBegins.MatchString(line) {
		r.crashed, r.last = true, nil // the program survived an earlier one
	}
	if r.last = append(r.last, line); r.crashed {
		r.last = r.last[:min(len(r.last), crashLines)]
	} else {
		r.last = lastLines(r.last, crashLines)
	}
}

// failures returns the tests that failed, and the tests in progress at a crash. It
// leaves out tests that failed only because a subtest did.
func (r *results) failures() []failure {
	names := slices.Clone(r.failed)
	for test, running := range r.open {
		if running {
			names = append(names, test)
			if r.crashed {
				delete(r.output, test) // it would repeat the crash
			}
		}
	}
	slices.Sort(names)
	var list []failure
	for _, name := range names {
		if slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") }) {
			continue
		}
		list = append(list, failure{name, r.output[name]})
	}
	return list
}

// lastLines returns the last n lines.
func lastLines(lines []string, n int) []string {
	return lines[max(0, len(lines)-n):]
}
