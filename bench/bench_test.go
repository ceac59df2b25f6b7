package main

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/pith-os/pith/conformance/harness"
)

func TestMedianIsTheMiddle(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(tc.values); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.values, got, tc.want)
		}
	}
}

func TestRatiosSayWhetherTheyMeetTheGoal(t *testing.T) {
	l := newLine("x", "ms", []samples{{"process", []float64{2, 2}}, {"plain", []float64{4}}})
	l.compare("plain", func(r float64) bool { return r <= 0.5 })
	l.compare("plain", func(r float64) bool { return r > 0.5 })
	l.compare("runsc", func(float64) bool { return false }) // was not measured
	if want := "0.5 of plain: met, 0.5 of plain: **missed**"; l.verdict() != want {
		t.Errorf("%q, want %q", l.verdict(), want)
	}
	if want := "x: process 2 ms, plain 4 ms"; l.medians() != want {
		t.Errorf("%q, want %q", l.medians(), want)
	}
}

func TestEachRoundTurnsTheOrder(t *testing.T) {
	var order []string
	b := &bench{rounds: 2}
	_, err := b.alternate([]harness.Monitor{{Name: "a"}, {Name: "b"}}, func(m harness.Monitor) (float64, error) {
		order = append(order, m.Name)
		return 0, nil
	})
	if got := strings.Join(order, ""); err != nil || got != "abba" {
		t.Errorf("order %s, %v", got, err)
	}
}

func TestThePageIsMadeOfTheRecordAndTheNotes(t *testing.T) {
	t.Chdir("..")
	want, err := makePage()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(pageFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from %s and %s: go run ./bench -page makes it again", pageFile, recordFile, notesFile)
	}
}

// A figure that was not measured keeps its row, and says why.
func TestThePageHasEachFigure(t *testing.T) {
	var r record
	for _, g := range groups {
		for _, f := range g.figures {
			r.Figures = append(r.Figures, result{Name: f.name, What: f.what, Goal: f.goal, Error: "no KVM"})
		}
	}
	r.Figures[0].Lines = []line{{Label: "os.File.Read", Unit: "ns", Medians: []value{{"process", 26.6}}, Ratios: []ratio{{"0.158 of plain", false}}}}
	r.Figures[0].Error = ""
	page := string(r.page(map[string]string{"run": "A note."}))
	for _, want := range []string{
		"| [read](#read) | " + readFigure.what + "; os.File.Read | ns | 26.6 | " + readFigure.goal + " | 0.158 of plain: **missed** |\n",
		"| [run](#run) | " + runFigure.what + " | | | " + runFigure.goal + " | not measured: no KVM |\n",
		"\n### run\n\n`pith run hello.pith`, whole process, against `runc run` of the plain binary: `go run ./bench -run '^run$'`\n\nA note.\n",
		"\n### kvm-many\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q:\n%s", want, page)
		}
	}
}

func TestAStampGoesBeforeTheEntryThatTheNoteNames(t *testing.T) {
	notes := []byte("\x04\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00Xen\x00________" +
		"\x04\x00\x00\x00\x04\x00\x00\x00\x12\x00\x00\x00Xen\x00\x50\x08\x00\x01")
	at := findEntry(notes, 4)
	if at != len(notes)-4 {
		t.Fatalf("found at %d of %d", at, len(notes))
	}
	if findEntry(notes[:at], 4) >= 0 || findEntry(nil, 4) >= 0 {
		t.Error("found an entry where there is none")
	}
	if code := stampCode(0x01000850); !strings.HasSuffix(string(code), "\xb8"+string(notes[at:])+"\xff\xe0") {
		t.Errorf("% x does not end at the entry", code)
	}
}

func TestTicksAreFoundAmongAKernelsLines(t *testing.T) {
	got, err := parseTicks([]byte("[    1.068737] PCI: Fatal\r\n18725928812 2599023684\r\n"))
	if want := (ticks{18725928812, 2599023684}); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := parseTicks([]byte("18725928812 25990")); err == nil {
		t.Errorf("half a line is %v", got)
	}
}

func TestMappingsAddUpToTheProcess(t *testing.T) {
	list, err := mappings(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	total, err := processUsage(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for _, m := range list {
		sum += m.pss
		found = found || m.file == program
	}
	if math.Abs(sum-total.pss) > 1 || !found {
		t.Errorf("%.1f MB in %d mappings, want %.1f MB; %s found: %t", sum, len(list), total.pss, program, found)
	}
}
