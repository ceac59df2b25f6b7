package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pith-os/pith/internal/monitor/qemu"
)

// The files that --write makes.
const (
	markdownFile = "docs/conformance.md"
	jsonFile     = "docs/conformance.json"
)

// document is the score: docs/conformance.json has it, and markdown renders it.
type document struct {
	Command    string // the command that made the document
	Made       time.Time
	Go, Pith   string // versions
	Host       string
	Monitors   []score
	Packages   []line
	Programs   []line `json:",omitempty"` // programs that failed on some monitor
	Exclusions []excludedTest
	LeftOut    map[string][]string `json:",omitempty"` // programs, by reason
}

// score counts the results of a monitor.
type score struct {
	Monitor  string
	Packages units
	Programs units
	Older    int // records of binaries older than today's
	Tests    struct {
		Passed, Failed, Skipped, Excluded int
		FailedOnPlain                     int // of the failed: plain Linux fails here too
		RunOnPlain                        int // of the skipped: plain Linux runs them
	}
}

// units counts packages or programs.
type units struct {
	All           int // how many there are
	Run           int
	Whole         int // nothing failed
	Empty         int // of these: all tests are excluded or skip themselves
	FailedOnPlain int // all that failed fails on plain Linux here too
	Failed        int // all others that were run
}

// percent is the share of all that pass whole.
func (u units) percent() float64 { return 100 * float64(u.Whole) / float64(max(1, u.All)) }

// line has the outcomes of a unit, by monitor.
type line struct {
	Unit string
	On   map[string]outcome
}

// outcome is a record as the document shows it.
type outcome struct {
	Ended                             string
	Passed, Failed, Skipped, Excluded int
	Seconds                           float64
	When                              time.Time
	Older                             bool         `json:",omitempty"` // of a binary older than today's
	Failures                          []failedTest `json:",omitempty"`
	Output                            []string     `json:",omitempty"`
	RunOnPlain                        []string     `json:",omitempty"` // tests that skip themselves here, but not on plain Linux
}

// failedTest is a test that failed. OnPlain: it fails on plain Linux here too.
type failedTest struct {
	Test    string
	OnPlain bool     `json:",omitempty"`
	Output  []string `json:",omitempty"`
}

// onlyPlain reports whether plain Linux has all the failures too.
func (o *outcome) onlyPlain() bool {
	return o.Ended == endedFailed && len(o.Failures) > 0 &&
		!slices.ContainsFunc(o.Failures, func(f failedTest) bool { return !f.OnPlain })
}

// excludedTest is an exclusion as the document shows it.
type excludedTest struct{ Unit, Test, Reason, Why string }

// collect makes the document from the records. key returns the key of today's run
// of a unit on a monitor. A record with another key is of an older binary.
func collect(all *collection, list exclusions, load func(m, unit string) (*record, error), key func(unit, monitor) string) (*document, error) {
	d := &document{LeftOut: all.leftOut}
	for _, x := range list {
		d.Exclusions = append(d.Exclusions, excludedTest{x.unit, x.test, x.reason, x.why})
	}
	scores := make(map[string]*score)
	for _, m := range monitors {
		scores[m.name] = &score{Monitor: m.name}
	}
	for _, u := range all.units {
		l := line{Unit: u.name, On: make(map[string]outcome)}
		var baseline *record
		failed := false
		for _, m := range monitors { // the plain one is first
			rec, err := load(m.name, u.name)
			if err != nil {
				return nil, err
			}
			s := scores[m.name]
			count := &s.Packages
			if u.program != nil {
				count = &s.Programs
			}
			count.All++
			if rec == nil {
				continue
			}
			if m.name == plain {
				baseline = rec
			}
			o := rec.outcome(baseline)
			o.Older = rec.Key != key(u, m)
			l.On[m.name] = o
			failed = failed || !rec.whole()
			s.add(count, &o, u.program == nil)
		}
		switch {
		case u.program == nil:
			d.Packages = append(d.Packages, l)
		case failed:
			d.Programs = append(d.Programs, l)
		}
	}
	for _, m := range monitors {
		if s := scores[m.name]; s.Packages.Run+s.Programs.Run > 0 {
			d.Monitors = append(d.Monitors, *s)
		}
	}
	return d, nil
}

// add counts a record.
func (s *score) add(count *units, o *outcome, tests bool) {
	count.Run++
	switch {
	case o.Ended == endedOK:
		count.Whole++
		if o.Passed == 0 {
			count.Empty++
		}
	case s.Monitor != plain && o.onlyPlain():
		count.FailedOnPlain++
	default:
		count.Failed++
	}
	if o.Older {
		s.Older++
	}
	if !tests {
		return
	}
	s.Tests.Passed += o.Passed
	s.Tests.Failed += o.Failed
	s.Tests.Skipped += o.Skipped
	s.Tests.Excluded += o.Excluded
	for _, f := range o.Failures {
		if f.OnPlain {
			s.Tests.FailedOnPlain++
		}
	}
	s.Tests.RunOnPlain += len(o.RunOnPlain)
}

// outcome compares the record with the one of plain Linux, which may be nil.
func (r *record) outcome(baseline *record) outcome {
	o := outcome{
		Ended: r.Ended, Passed: r.Passed, Failed: r.Failed, Skipped: r.Skipped, Excluded: r.Excluded,
		Seconds: r.Seconds, When: r.When, Output: r.Output,
	}
	for _, f := range r.Failures {
		too := baseline != nil && baseline != r && slices.ContainsFunc(baseline.Failures, func(b failure) bool { return b.Test == f.Test })
		o.Failures = append(o.Failures, failedTest{f.Test, too, f.Output})
	}
	for _, test := range r.Skips {
		if baseline != nil && !slices.Contains(baseline.Skips, test) {
			o.RunOnPlain = append(o.RunOnPlain, test)
		}
	}
	return o
}

// writeReport makes both files from all records of the Go release.
func writeReport(ctx context.Context, r *runner, all *collection) error {
	on, err := chooseMonitors(ctx, monitorNames())
	if err != nil {
		return err
	}
	byName := make(map[string]monitor)
	for _, m := range on {
		byName[m.name] = m
	}
	d, err := collect(all, r.exclusions, r.store.load, func(u unit, m monitor) string { return r.key(u, byName[m.name]) })
	if err != nil {
		return err
	}
	d.Command = strings.Join(append([]string{"go run ./conformance"}, quote(os.Args[1:])...), " ")
	d.Made = time.Now().UTC().Truncate(time.Second)
	d.Go, d.Pith = r.version, firstLine(ctx, "git", "describe", "--always", "--dirty")
	d.Host = fmt.Sprintf("%d CPUs, Linux %s, %s, accelerator %s", runtime.NumCPU(),
		firstLine(ctx, "uname", "-r"), firstLine(ctx, qemu.Program, "--version"), accelerator(ctx))
	data, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(jsonFile, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(markdownFile, []byte(d.markdown()), 0o644)
}

// quote puts arguments between quotes if a shell would change them.
func quote(args []string) []string {
	var out []string
	for _, a := range args {
		if strings.ContainsAny(a, "^$*()| ") {
			a = "'" + a + "'"
		}
		out = append(out, a)
	}
	return out
}

// firstLine returns the first line that a command prints.
func firstLine(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return name + ": " + err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return first
}

// byReason returns the exclusions of each reason that has any, in order.
func (d *document) byReason() (order []string, groups map[string][]excludedTest) {
	groups = make(map[string][]excludedTest)
	for _, x := range d.Exclusions {
		groups[x.Reason] = append(groups[x.Reason], x)
	}
	return slices.Sorted(maps.Keys(groups)), groups
}
