package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pith-os/pith/conformance/harness"
)

// figure is a row of the table of what Pith wants to reach.
type figure struct {
	name    string
	what    string
	reach   string
	measure func(*bench) ([]line, error)
	// interpreted is what to reach where KVM interprets code at CPL 0; empty:
	// the same.
	interpreted string
}

// figures are all of them, each in a file of its own.
var figures = []figure{
	readFigure, runFigure, mainFigure, sizeFigure, httpFigure, memoryFigure, bulkFigure, testFigure,
	bootFigure, answerFigure, leastFigure, requestsFigure, vmBulkFigure, idleFigure,
	kvmRunFigure, kvmAnswerFigure, kvmMainFigure, kvmMemoryFigure, kvmWorkFigure, kvmHTTPFigure, kvmRateFigure, kvmManyFigure,
}

// line is what was measured of one thing: the contestants' medians, and the
// ratios that the figure asks for.
type line struct {
	label   string // what of the figure; empty when it is the only one
	unit    string
	medians []named
	ratios  []ratio // what the figure asks of them
}

// named is a contestant's value.
type named struct {
	who   string
	value float64
}

// ratio compares two contestants.
type ratio struct {
	text string
	met  bool
}

// result is a figure measured, or why it could not be.
type result struct {
	figure
	lines []line
	err   error
}

// samples are a contestant's measurements.
type samples struct {
	who    string
	values []float64
}

// alternate measures each contestant once a round, in an order that turns
// each time, so that whatever changes on the machine meets all alike.
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

// newLine makes a line of samples.
func newLine(label, unit string, all []samples) line {
	l := line{label: label, unit: unit}
	for _, s := range all {
		l.medians = append(l.medians, named{s.who, median(s.values)})
	}
	return l
}

// median is the middle value; of an even number, the mean of the middle two.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

func (l *line) of(who string) (float64, bool) {
	for _, m := range l.medians {
		if m.who == who {
			return m.value, true
		}
	}
	return 0, false
}

// compare adds the ratio of each image's median to other's, and whether ok
// finds that it reaches what it should. Where other was not measured there is
// nothing to compare with.
func (l *line) compare(other string, ok func(ratio float64) bool) {
	for _, m := range harness.Monitors {
		if m.Image {
			l.compareOne(m.Name, other, ok)
		}
	}
}

// compareOne is compare for one contestant.
func (l *line) compareOne(who, other string, ok func(ratio float64) bool) {
	v, measured := l.of(who)
	base, found := l.of(other)
	if !measured || !found || base == 0 {
		return
	}
	r := v / base
	l.ratios = append(l.ratios, ratio{fmt.Sprintf("%s of %s", digits(r), other), ok(r)})
}

// got is the line's medians as text.
func (l *line) got() string {
	var parts []string
	for _, m := range l.medians {
		parts = append(parts, fmt.Sprintf("%s %s %s", m.who, digits(m.value), l.unit))
	}
	text := strings.Join(parts, ", ")
	if l.label != "" {
		text = l.label + ": " + text
	}
	return text
}

// digits writes a number with three significant digits or all before the
// point.
func digits(v float64) string {
	if v >= 1000 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// verdict is the line's ratios as text.
func (l *line) verdict() string {
	var parts []string
	for _, r := range l.ratios {
		word := "reached"
		if !r.met {
			word = "**short**"
		}
		parts = append(parts, r.text+": "+word)
	}
	return strings.Join(parts, ", ")
}

func (r result) print(w io.Writer) {
	if r.err != nil {
		fmt.Fprintln(w, "  not measured:", r.err)
	}
	for _, l := range r.lines {
		fmt.Fprintf(w, "  %s; %s\n", l.got(), l.verdict())
	}
}
