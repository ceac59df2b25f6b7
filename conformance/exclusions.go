package main

import (
	"debug/elf"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed exclusions.txt
var exclusionText string

// reasons says what a guest with one program and nothing but Go cannot have.
// There are at most eight. Slow, flaky and hard are not among them.
var reasons = map[string]string{
	"fork/exec": "starts another program",
	"cgo":       "needs a C compiler or C code",
	"plugin":    "loads code at run time",
	"setuid":    "needs other users than root",
	"chroot":    "changes the root folder",
	"mount":     "mounts file systems or makes namespaces",
	"ptrace":    "traces another process",
	"one-heap":  "counts what the process allocates, and the library OS is in it",
}

// exclusion is a test that is not run in images.
type exclusion struct {
	unit   string // import path, or a program of test/
	test   string // name as go test -v prints it; wholeProgram for a program
	reason string
	why    string
}

// wholeProgram takes the place of a test's name if the unit is a program.
const wholeProgram = "main"

// exclusions are the exclusions for a Go release.
type exclusions []exclusion

// parseExclusions reads lines of the form
//
//	UNIT TEST REASON [RELEASE] # WHY
//
// and keeps those without a release or with this one. Empty lines and those
// that begin with # are left out.
func parseExclusions(text, release string) (exclusions, error) {
	var list exclusions
	seen := make(map[string]bool)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fail := func(format string, args ...any) (exclusions, error) {
			return nil, fmt.Errorf("exclusions.txt:%d: "+format, append([]any{n}, args...)...)
		}
		what, why, ok := strings.Cut(line, " # ")
		f := strings.Fields(what)
		if !ok || len(f) < 3 || len(f) > 4 {
			return fail("not of the form: package test reason [release] # why")
		}
		if _, ok := reasons[f[2]]; !ok {
			return fail("%s is not a reason", f[2])
		}
		if (f[1] == wholeProgram) != isProgram(f[0]) {
			return fail("%s is for programs, and packages have tests", wholeProgram)
		}
		only := ""
		if len(f) == 4 {
			only = f[3]
			if !regexp.MustCompile(`^go1\.\d+$`).MatchString(only) {
				return fail("%s is not a Go release, as go1.26", only)
			}
		}
		if only != "" && only != release {
			continue
		}
		if seen[f[0]+" "+f[1]] {
			return fail("%s %s is excluded already", f[0], f[1])
		}
		seen[f[0]+" "+f[1]] = true
		list = append(list, exclusion{f[0], f[1], f[2], strings.TrimSpace(why)})
	}
	return list, nil
}

// of returns the exclusions of a unit.
func (e exclusions) of(unit string) exclusions {
	var list exclusions
	for _, x := range e {
		if x.unit == unit {
			list = append(list, x)
		}
	}
	return list
}

// known returns an error if an exclusion names a unit that does not exist.
// Distributions from the module proxy have no programs.
func (e exclusions) known(units []unit) error {
	programs := slices.ContainsFunc(units, func(u unit) bool { return u.program != nil })
	for _, x := range e {
		if isProgram(x.unit) && !programs {
			continue
		}
		if !slices.ContainsFunc(units, func(u unit) bool { return u.name == x.unit }) {
			return fmt.Errorf("exclusions.txt: there is no %s with tests", x.unit)
		}
	}
	return nil
}

// skip returns the pattern for -test.skip.
func (e exclusions) skip() string {
	var patterns []string
	for _, x := range e {
		patterns = append(patterns, x.pattern())
	}
	return strings.Join(patterns, "|")
}

// pattern returns the pattern for -test.run and -test.skip that matches this test
// alone.
func (x exclusion) pattern() string {
	parts := strings.Split(x.test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// found returns an error if an exclusion names a test that the binary does not
// have. Subtests are known only when they run, so it looks for their test.
func (e exclusions) found(binary string) error {
	if len(e) == 0 {
		return nil
	}
	f, err := elf.Open(binary)
	if err != nil {
		return err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return fmt.Errorf("the symbols of %s: %w", binary, err)
	}
	there := make(map[string]bool)
	for _, s := range symbols {
		there[s.Name] = true
	}
	for _, x := range e {
		test, _, _ := strings.Cut(x.test, "/")
		if !there[x.unit+"."+test] && !there[x.unit+"_test."+test] {
			return fmt.Errorf("exclusions.txt: %s has no %s", x.unit, test)
		}
	}
	return nil
}
