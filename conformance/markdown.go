package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const preface = `# Conformance

Go's own tests in images. Made by

	%s

on %s. Do not edit it: [conformance](../conformance) keeps a record of each run,
and makes this page of the records. [conformance.json](conformance.json) also has the
output of what failed.

- %s; Pith %s
- %s

Each package of the standard library that has tests is here. The derived distribution
links its test binary, without cgo. ` + "`pith exec`" + ` runs it in the package's folder in short
mode (` + "`-test.short`" + `), as Go's own all.bash does.

- A package **passes whole** when its binary ends with 0. Nothing was left out then, except
  the exclusions below and the tests that skip themselves.
- **plain** is the unchanged Go on Linux on the same host, without exclusions. A test may
  fail there too, for want of a network for example. It is counted apart, and still named.
- Tests are counted with their subtests.
- Many of Go's tests first try whether a program can be started, and skip themselves where
  none can. Tests that are skipped in images alone are counted, and named in
  conformance.json.
- **q35** is QEMU's other machine type.

`

// markdown is docs/conformance.md.
func (d *document) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, preface, d.Command, d.Made.Format("2006-01-02 15:04 UTC"), d.Go, d.Pith, d.Host)
	d.writeScores(&b)
	d.writeExclusions(&b)
	d.writeFailures(&b, "Packages that do not pass whole", d.Packages)
	d.writeFailures(&b, "Programs of the test/ folder that fail", d.Programs)
	d.writeLeftOut(&b)
	d.writePackages(&b)
	return b.String()
}

// writeScores writes a column for each monitor.
func (d *document) writeScores(b *strings.Builder) {
	head, rule := "| |", "|---|"
	for _, s := range d.Monitors {
		head += " " + s.Monitor + " |"
		rule += "---:|"
	}
	fmt.Fprintf(b, "%s\n%s\n", head, rule)
	row := func(what string, value func(s *score) string) {
		fmt.Fprintf(b, "| %s |", what)
		for i := range d.Monitors {
			fmt.Fprintf(b, " %s |", value(&d.Monitors[i]))
		}
		b.WriteString("\n")
	}
	number := func(what string, value func(s *score) int) {
		row(what, func(s *score) string { return fmt.Sprint(value(s)) })
	}
	number("packages with tests", func(s *score) int { return s.Packages.All })
	number("run", func(s *score) int { return s.Packages.Run })
	number("**pass whole**", func(s *score) int { return s.Packages.Whole })
	row("**percent**", func(s *score) string { return fmt.Sprintf("**%.1f**", s.Packages.percent()) })
	number("of these, with every test excluded or skipped", func(s *score) int { return s.Packages.Empty })
	number("fail only where plain Linux fails here too", func(s *score) int { return s.Packages.FailedOnPlain })
	number("fail", func(s *score) int { return s.Packages.Failed })
	number("tests passed", func(s *score) int { return s.Tests.Passed })
	number("tests failed", func(s *score) int { return s.Tests.Failed })
	number("of these, on plain Linux here too", func(s *score) int { return s.Tests.FailedOnPlain })
	number("tests that skip themselves", func(s *score) int { return s.Tests.Skipped })
	number("of these, on plain Linux here they do not", func(s *score) int { return s.Tests.RunOnPlain })
	number("tests excluded", func(s *score) int { return s.Tests.Excluded })
	number("programs of the test/ folder", func(s *score) int { return s.Programs.All })
	number("run", func(s *score) int { return s.Programs.Run - s.Programs.Empty })
	number("**pass**", func(s *score) int { return s.Programs.Whole - s.Programs.Empty })
	number("excluded", func(s *score) int { return s.Programs.Empty })
	number("fail on plain Linux here too", func(s *score) int { return s.Programs.FailedOnPlain })
	number("fail", func(s *score) int { return s.Programs.Failed })
	number("figures of an older Pith, marked below", func(s *score) int { return s.Older })
}

func (d *document) writeExclusions(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Exclusions: %d\n\nWhat an instance with a single program cannot have.\n", len(d.Exclusions))
	order, groups := d.byReason()
	for _, reason := range order {
		group := groups[reason]
		fmt.Fprintf(b, "\n### %s: %d\n\nIt %s.\n\n", reason, len(group), reasons[reason])
		for _, x := range group {
			fmt.Fprintf(b, "- %s `%s`: %s\n", x.Unit, x.Test, x.Why)
		}
	}
}

// writeFailures names what failed of each line, by monitor.
func (d *document) writeFailures(b *strings.Builder, title string, lines []line) {
	var failed []line
	for _, l := range lines {
		for _, o := range l.On {
			if o.Ended != endedOK {
				failed = append(failed, l)
				break
			}
		}
	}
	fmt.Fprintf(b, "\n## %s: %d\n\n", title, len(failed))
	if len(failed) == 0 {
		return
	}
	b.WriteString("| | monitor | ended | what failed |\n|---|---|---|---|\n")
	for _, l := range failed {
		for _, s := range d.Monitors {
			o, ok := l.On[s.Monitor]
			if !ok || o.Ended == endedOK {
				continue
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s |\n", l.Unit, s.Monitor, o.Ended, o.what())
		}
	}
}

// what names the failures, and how a run ended that did not come to its end.
func (o *outcome) what() string {
	var names []string
	for _, f := range o.Failures {
		name := code(f.Test)
		if f.Test == wholeProgram {
			name = "" // that the program failed is said
			if len(f.Output) > 0 {
				name = code(f.Output[0])
			}
		}
		if f.OnPlain {
			name += " (on plain Linux too)"
		}
		names = append(names, name)
	}
	if len(o.Output) > 0 {
		names = append(names, code(o.Output[0]))
	}
	return strings.Join(names, ", ")
}

// code is text as code in a table's cell; a long one is cut.
func code(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	if text = strings.TrimSpace(text); text == "" {
		return ""
	}
	return "`" + strings.NewReplacer("|", `\|`, "`", "'").Replace(text) + "`"
}

func (d *document) writeLeftOut(b *strings.Builder) {
	b.WriteString("\n## Programs of the test/ folder that are left out\n\n" +
		"The rest of the folder tests the compiler and runs nothing.\n\n")
	for _, reason := range slices.Sorted(maps.Keys(d.LeftOut)) {
		fmt.Fprintf(b, "- %d: %s\n", len(d.LeftOut[reason]), reason)
	}
}

// writePackages writes a line for each package.
func (d *document) writePackages(b *strings.Builder) {
	b.WriteString("\n## All packages\n\nTests that passed, failed (f), skipped themselves (s) and are excluded (e), and seconds.\n\n")
	head, rule := "| |", "|---|"
	for _, s := range d.Monitors {
		head += " " + s.Monitor + " |"
		rule += "---|"
	}
	fmt.Fprintf(b, "%s\n%s\n", head, rule)
	for _, l := range d.Packages {
		fmt.Fprintf(b, "| %s |", l.Unit)
		for _, s := range d.Monitors {
			o, ok := l.On[s.Monitor]
			if !ok {
				b.WriteString(" not run |")
				continue
			}
			fmt.Fprintf(b, " %s |", o.cell(d.Made))
		}
		b.WriteString("\n")
	}
}

// cell is an outcome in a few words.
func (o *outcome) cell(now time.Time) string {
	verdict := o.Ended
	if verdict != endedOK {
		verdict = "**" + verdict + "**"
	}
	text := fmt.Sprintf("%s %d", verdict, o.Passed)
	for _, n := range []struct {
		count  int
		suffix string
	}{{o.Failed, "f"}, {o.Skipped, "s"}, {o.Excluded, "e"}} {
		if n.count > 0 {
			text += fmt.Sprintf(" %d%s", n.count, n.suffix)
		}
	}
	text += fmt.Sprintf(", %.1f", o.Seconds)
	if o.Older {
		text += fmt.Sprintf(" (older, %s)", now.Sub(o.When).Round(time.Hour))
	}
	return text
}
