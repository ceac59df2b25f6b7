package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// The report. The record holds what was measured, the notes are written by hand,
// and the page is made of both.
const (
	pageFile   = "docs/benchmarks.md"
	recordFile = "docs/benchmarks.json"
	notesFile  = "bench/notes.md" // a heading "## NAME" for each figure that has notes
)

// record is the content of recordFile.
type record struct {
	Date    string   `json:"date"`   // of the measurement, YYYY-MM-DD
	Rounds  int      `json:"rounds"` // each contestant was measured so often, or more
	Host    []fact   `json:"host"`
	Figures []result `json:"figures"`
}

// result is what was measured of a figure.
type result struct {
	Name  string `json:"name"`
	What  string `json:"what"`
	Goal  string `json:"goal"` // on the host of the measurement
	Lines []line `json:"lines"`
	Error string `json:"error,omitempty"` // why it could not be measured
}

// writeRecord writes recordFile.
func (r *record) write() error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return err
	}
	return os.WriteFile(recordFile, b.Bytes(), 0o644)
}

// writePage makes pageFile of the record and the notes.
func writePage() error {
	page, err := makePage()
	if err != nil {
		return err
	}
	return os.WriteFile(pageFile, page, 0o644)
}

func makePage() ([]byte, error) {
	data, err := os.ReadFile(recordFile)
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordFile, err)
	}
	notes, err := readNotes()
	if err != nil {
		return nil, err
	}
	return r.page(notes), nil
}

const preface = `# Benchmarks

` + "`go run ./bench -write`" + ` made this page on %[1]s. Do not edit it. The numbers
stand in [benchmarks.json](benchmarks.json), the notes in [%[2]s](../%[2]s).
After a change of the notes, ` + "`go run ./bench -page`" + ` makes the page again.

- Each number is the median of %[3]d rounds or more.
- All contestants are measured in one run, by turns.
- Columns are contestants. "plain" is the plain binary on Linux; "linux" is a Linux guest.
- runc and runsc run the plain binary with the host's network, which favours them.
- The head of each figure's file in [bench](../bench) says how it is measured.
- [Notes](#notes) has the command for each figure, and what explains the number.

## Host

| | |
|---|---|
`

// page writes the tables, and the notes below them.
func (r *record) page(notes map[string]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, preface, r.Date, notesFile, r.Rounds)
	for _, f := range r.Host {
		fmt.Fprintf(&b, "| %s | %s |\n", f.Name, f.Value)
	}
	for _, g := range groups {
		var results []result
		for _, f := range g.figures {
			if n := slices.IndexFunc(r.Figures, func(x result) bool { return x.Name == f.name }); n >= 0 {
				results = append(results, r.Figures[n])
			}
		}
		fmt.Fprintf(&b, "\n## %s\n\n", g.title)
		writeTable(&b, results)
	}
	b.WriteString("\n## Notes\n")
	for _, f := range r.Figures {
		fmt.Fprintf(&b, "\n### %s\n\n%s: `go run ./bench -run '^%s$'`\n", f.Name, upperFirst(f.What), f.Name)
		if notes[f.Name] != "" {
			fmt.Fprintf(&b, "\n%s\n", notes[f.Name])
		}
	}
	return b.Bytes()
}

// writeTable writes a row for each line, with a column for each contestant.
func writeTable(b *bytes.Buffer, results []result) {
	var columns []string
	for _, r := range results {
		for _, l := range r.Lines {
			for _, m := range l.Medians {
				if !slices.Contains(columns, m.Who) {
					columns = append(columns, m.Who)
				}
			}
		}
	}
	fmt.Fprintf(b, "| figure | what | unit | %s | goal | result |\n", strings.Join(columns, " | "))
	fmt.Fprintf(b, "|---|---|---|%s---|---|\n", strings.Repeat("---:|", len(columns)))
	for _, r := range results {
		name, what, goal := fmt.Sprintf("[%s](#%s)", r.Name, r.Name), r.What, r.Goal
		for _, l := range r.Lines {
			if l.Label != "" {
				what = strings.TrimPrefix(what+"; "+l.Label, "; ")
			}
			fmt.Fprintf(b, "| %s | %s | %s |", name, what, l.Unit)
			for _, who := range columns {
				text := ""
				if v, ok := l.of(who); ok {
					text = digits(v)
				}
				fmt.Fprintf(b, " %s |", text)
			}
			fmt.Fprintf(b, " %s | %s |\n", goal, l.verdict())
			name, what, goal = "", "", "" // the figure's further lines
		}
		if r.Error != "" {
			fmt.Fprintf(b, "| %s | %s | |%s %s | not measured: %s |\n", name, what, strings.Repeat(" |", len(columns)), goal, r.Error)
		}
	}
}

// upperFirst makes text the beginning of a sentence.
func upperFirst(text string) string {
	return strings.ToUpper(text[:1]) + text[1:]
}

// readNotes returns the notes by figure.
func readNotes() (map[string]string, error) {
	data, err := os.ReadFile(notesFile)
	if err != nil {
		return nil, err
	}
	notes := make(map[string]string)
	_, text, _ := strings.Cut(string(data), "\n## ")
	for section := range strings.SplitSeq(text, "\n## ") {
		name, note, _ := strings.Cut(section, "\n")
		known := false
		for _, g := range groups {
			known = known || slices.ContainsFunc(g.figures, func(f figure) bool { return f.name == name })
		}
		if !known {
			return nil, fmt.Errorf("%s: the heading %q names no figure", notesFile, name)
		}
		notes[name] = strings.TrimSpace(note)
	}
	return notes, nil
}
