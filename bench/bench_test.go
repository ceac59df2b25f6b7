package main

import (
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

func TestRatiosSayWhetherTheyReach(t *testing.T) {
	l := newLine("x", "ms", []samples{{"process", []float64{2, 2}}, {"plain", []float64{4}}})
	l.compare("plain", func(r float64) bool { return r <= 0.5 })
	l.compare("plain", func(r float64) bool { return r > 0.5 })
	l.compare("runsc", func(float64) bool { return false }) // was not measured
	if want := "0.5 of plain: reached, 0.5 of plain: **short**"; l.verdict() != want {
		t.Errorf("%q, want %q", l.verdict(), want)
	}
	if want := "x: process 2 ms, plain 4 ms"; l.got() != want {
		t.Errorf("%q, want %q", l.got(), want)
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

func TestNotesNameFigures(t *testing.T) {
	t.Chdir("..")
	if _, err := readNotes(); err != nil {
		t.Error(err)
	}
}
