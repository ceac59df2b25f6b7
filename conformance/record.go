package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The ways in which a run ends.
const (
	endedOK      = "ok"      // nothing failed
	endedFailed  = "failed"  // it ran to its end, and something failed
	endedCrash   = "crash"   // it ended early
	endedTimeout = "timeout" // it was stopped
	endedBuild   = "build"   // it could not be built
)

// record is the result of a unit on a monitor.
type record struct {
	Unit    string
	Monitor string
	Key     string // names the binary and what ran it: see runner.key
	Binary  string // digest of the linked binary
	When    time.Time
	Seconds float64

	Ended    string
	ExitCode int // -1: killed by a signal

	// Tests, with subtests. Programs of test/ are one test each.
	Passed, Failed, Skipped, Excluded int

	Skips    []string  `json:",omitempty"` // tests that skipped themselves
	Failures []failure `json:",omitempty"`
	Output   []string  `json:",omitempty"` // only if it did not run to its end
	Log      string    // file with all output
}

// failure is a test that failed, or that was in progress at a crash.
type failure struct {
	Test   string
	Output []string // its last lines
}

// whole reports whether nothing failed.
func (r *record) whole() bool { return r.Ended == endedOK }

// store is a directory of records and logs of one Go version. It has a directory
// for each monitor, with files UNIT.json and UNIT.log.
type store struct{ dir string }

func (s store) path(m, unit, suffix string) string {
	return filepath.Join(s.dir, m, filepath.FromSlash(unit)+suffix)
}

// load returns the record of a unit on a monitor, or nil if it has none.
func (s store) load(m, unit string) (*record, error) {
	data, err := os.ReadFile(s.path(m, unit, ".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.path(m, unit, ".json"), err)
	}
	return &r, nil
}

// save writes a record completely or not at all.
func (s store) save(r *record) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	name := s.path(r.Monitor, r.Unit, ".json")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// log creates the file for a unit's output.
func (s store) log(m, unit string) (*os.File, error) {
	name := s.path(m, unit, ".log")
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	return os.Create(name)
}

func (s store) clear() error { return os.RemoveAll(s.dir) }

// digest returns a short digest of all the fields.
func digest(parts ...string) string {
	sum := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(sum, "%d %s\n", len(p), p)
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}
