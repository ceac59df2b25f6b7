package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pith-os/pith/conformance/harness"
)

// figure is one thing that is measured, and the goal that Pith has for it.
type figure struct {
	name    string
	what    string
	goal    string
	measure func(*bench) ([]line, error)
	// interpreted is the goal on hosts where KVM interprets code at CPL 0. When
	// it is empty, goal holds there too.
	interpreted string
}

// group is a table of the report.
type group struct {
	title   string
	figures []figure
}

// groups are all figures. Each figure stands in a file of its own, which says
// how it is measured.
var groups = []group{
	{"Confined process", []figure{
		readFigure, runFigure, mainFigure, sizeFigure, httpFigure, memoryFigure, bulkFigure, dialFigure, testFigure,
	}},
	{"Virtual machine under QEMU", []figure{
		bootFigure, answerFigure, leastFigure, requestsFigure, vmBulkFigure, idleFigure,
	}},
	{"Virtual machine under Pith's own monitor on KVM", []figure{
		kvmRunFigure, kvmAnswerFigure, kvmMainFigure, kvmMemoryFigure, kvmWorkFigure, kvmHTTPFigure, kvmRateFigure, kvmManyFigure,
	}},
}

// line is one row of measurements: the contestants' medians, and the ratios
// that the figure's goal is about. A figure has one line or more.
type line struct {
	Label   string  `json:"label,omitempty"` // which part of the figure; empty when it has one line
	Unit    string  `json:"unit"`
	Medians []value `json:"medians"`
	Ratios  []ratio `json:"ratios,omitempty"`
}

// value is a contestant's median.
type value struct {
	Who   string  `json:"who"`
	Value float64 `json:"value"`
}

// ratio compares a contestant with another, or with a limit.
type ratio struct {
	Text string `json:"text"`
	Met  bool   `json:"met"` // the goal is met
}

// samples are a contestant's measurements.
type samples struct {
	who    string
	values []float64
}

// alternate measures each contestant once a round. The order turns after each
// round, so a change on the host affects all contestants alike.
func (b *bench) alternate(contestants []harness.Monitor, measure func(harness.Monitor) (float64, error)) ([]samples, error) {
	all := make([]samples, len(contestants))
	order := make([]int, len(contestants))
	for n, c := range contestants {
		all[n].who = c.Name
		order[n] = n
	}
	for range b.rounds {
		for _, n := range order {
			v, err := measure(contestants[n])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contestants[n].Name, err)
			}
			all[n].values = append(all[n].values, v)
		}
		slices.Reverse(order)
	}
	return all, nil
}

// newLine returns the line of the samples' medians.
func newLine(label, unit string, all []samples) line {
	l := line{Label: label, Unit: unit}
	for _, s := range all {
		l.Medians = append(l.Medians, value{s.who, median(s.values)})
	}
	return l
}

// median returns the middle value. Of an even number it returns the mean of the
// middle two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// of returns the median of a contestant, and reports whether it was measured.
func (l *line) of(who string) (float64, bool) {
	for _, m := range l.Medians {
		if m.Who == who {
			return m.Value, true
		}
	}
	return 0, false
}

// compare adds the ratio of each image's median to other's. met reports whether
// a ratio meets the goal. Without a measurement of other, compare adds nothing.
func (l *line) compare(other string, met func(ratio float64) bool) {
	for _, m := range harness.Monitors {
		if m.Image {
			l.compareOne(m.Name, other, met)
		}
	}
}

// compareOne is compare for one contestant.
func (l *line) compareOne(who, other string, met func(ratio float64) bool) {
	v, measured := l.of(who)
	base, found := l.of(other)
	if !measured || !found || base == 0 {
		return
	}
	r := v / base
	l.Ratios = append(l.Ratios, ratio{fmt.Sprintf("%s of %s", digits(r), other), met(r)})
}

// medians returns the line's medians as text.
func (l *line) medians() string {
	var parts []string
	for _, m := range l.Medians {
		parts = append(parts, fmt.Sprintf("%s %s %s", m.Who, digits(m.Value), l.Unit))
	}
	text := strings.Join(parts, ", ")
	if l.Label != "" {
		text = l.Label + ": " + text
	}
	return text
}

// digits writes a number with three significant digits, or with all digits
// before the point.
func digits(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// verdict returns the line's ratios as text.
func (l *line) verdict() string {
	var parts []string
	for _, r := range l.Ratios {
		word := "met"
		if !r.Met {
			word = "**missed**"
		}
		parts = append(parts, r.Text+": "+word)
	}
	return strings.Join(parts, ", ")
}

// print writes the result for people at a terminal.
func (r *result) print(w io.Writer) {
	if r.Error != "" {
		fmt.Fprintln(w, "  not measured:", r.Error)
	}
	for _, l := range r.Lines {
		fmt.Fprintf(w, "  %s; %s\n", l.medians(), l.verdict())
	}
}
