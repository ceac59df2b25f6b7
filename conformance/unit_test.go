package main

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func TestSlicesPartition(t *testing.T) {
	var all []unit
	for i := range 23 {
		all = append(all, unit{name: fmt.Sprint(i)})
	}
	for _, count := range []int{1, 2, 7, 23, 30} {
		seen := make(map[string]int)
		for i := 1; i <= count; i++ {
			for _, u := range (slice{i, count}).of(all) {
				seen[u.name]++
			}
		}
		for _, u := range all {
			if seen[u.name] != 1 {
				t.Errorf("of %d slices, %d have unit %s", count, seen[u.name], u.name)
			}
		}
	}
}

func TestSlicesAreParsed(t *testing.T) {
	if got, err := parseSlice("2/8"); err != nil || got != (slice{2, 8}) {
		t.Errorf("2/8 is %v, %v", got, err)
	}
	for _, s := range []string{"", "2", "0/8", "9/8", "2/8x", "-1/8", "1/0"} {
		if _, err := parseSlice(s); err == nil {
			t.Errorf("no error for %q", s)
		}
	}
}

func TestResumeLeavesOutWhatPassedWithTheSameKey(t *testing.T) {
	process := monitor{name: "process"}
	u := unit{name: "net/http"}
	for _, c := range []struct {
		what   string
		change func(r *runner, rec *record)
		want   bool
	}{
		{"same", func(*runner, *record) {}, true},
		{"failed", func(_ *runner, rec *record) { rec.Ended = endedFailed }, false},
		{"other pith", func(r *runner, _ *record) { r.pithSum = "b" }, false},
		{"other distribution", func(r *runner, _ *record) { r.derived = &distribution{root: "/go1.26.8-2"} }, false},
		{"other exclusions", func(r *runner, _ *record) { r.exclusions = exclusions{{unit: u.name, test: "TestX"}} }, false},
		{"exclusions of others", func(r *runner, _ *record) { r.exclusions = exclusions{{unit: "os", test: "TestX"}} }, true},
		{"no resume", func(r *runner, _ *record) { r.resume = false }, false},
	} {
		r := &runner{
			lab:   &lab{version: "go1.26.8", pithSum: "a", derived: &distribution{root: "/go1.26.8-1"}},
			store: store{t.TempDir()}, resume: true,
		}
		rec := &record{Unit: u.name, Monitor: process.name, Key: r.key(u, process), Ended: endedOK, When: time.Now()}
		c.change(r, rec)
		if err := r.store.save(rec); err != nil {
			t.Fatal(err)
		}
		if got, err := r.done(u, process); err != nil || got != c.want {
			t.Errorf("%s: left out %v, %v; want %v", c.what, got, err, c.want)
		}
	}
}

func TestRecipesOfPrograms(t *testing.T) {
	for source, want := range map[string]*program{
		"// run\n\npackage main\n":                                    {},
		"//go:build linux && gc\n\n// run\npackage main\n":            {},
		"//go:build !amd64\n\n// run\npackage main\n":                 nil,
		"//go:build cgo\n// run\npackage main\n":                      nil,
		"// errorcheck\npackage main\n":                               nil,
		"// Copyright 2009 it's ours\n\npackage main\n":               nil,
		"// run arg1 arg2\npackage main\n":                            {args: []string{"arg1", "arg2"}},
		"// run other.go arg\npackage main\n":                         {more: []string{"other.go"}, args: []string{"arg"}},
		"// run -gcflags='all=-N -l'\npackage main\n":                 {flags: []string{"-gcflags=all=-N -l"}},
		"// run -gcflags -l=4\npackage main\n":                        {flags: []string{"-gcflags", "-l=4"}},
		"// buildrun -t 10  -gcflags=-d=a,b\npackage main\n":          {flags: []string{"-gcflags=-d=a,b"}},
		"// rundir -s -ldflags -strictdups=2 -w=0\npackage ignored\n": {folder: true, single: true, flags: []string{"-ldflags", "-strictdups=2", "-w=0"}},
	} {
		if want != nil {
			want.file = "x.go"
		}
		if got, err := parseProgram("x.go", source); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, %v; want %+v", source, got, err, want)
		}
	}
	for _, action := range []string{"runoutput", "runindir", "run -race", "run -goexperiment fieldtrack"} {
		if p, err := parseProgram("x.go", "// "+action+"\npackage main\n"); err != nil || p == nil || p.leftOut == "" {
			t.Errorf("%s is not left out: %+v, %v", action, p, err)
		}
	}
}
