package main

import (
	"context"
	"fmt"
	"strings"
)

// unit is what is run as one: the tests of a package, or a program of the
// distribution's test/ folder.
type unit struct {
	name    string   // import path, or test/ken/array.go
	program *program // nil for a package
}

// collection is all that there is to run.
type collection struct {
	units   []unit
	leftOut map[string][]string // programs of test/ that are not run, by reason
}

// units are the packages with tests and the programs of the distribution.
func (l *lab) units(ctx context.Context) (*collection, error) {
	names, err := l.derived.packages(ctx)
	if err != nil {
		return nil, err
	}
	c := &collection{leftOut: make(map[string][]string)}
	for _, name := range names {
		c.units = append(c.units, unit{name: name})
	}
	programs, err := findPrograms(l.plain.root)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if p.leftOut != "" {
			c.leftOut[p.leftOut] = append(c.leftOut[p.leftOut], p.name())
			continue
		}
		c.units = append(c.units, unit{p.name(), p})
	}
	return c, nil
}

// slice is the part index of count, from 1.
type slice struct{ index, count int }

func parseSlice(s string) (p slice, err error) {
	if _, err := fmt.Sscanf(s, "%d/%d", &p.index, &p.count); err != nil || fmt.Sprintf("%d/%d", p.index, p.count) != s {
		return p, fmt.Errorf("--slice %s: write I/N, as 2/8", s)
	}
	if p.index < 1 || p.index > p.count {
		return p, fmt.Errorf("--slice %s: there are parts 1 to %d", s, p.count)
	}
	return p, nil
}

// of deals the units out by turns, so that no part has all the large ones.
func (p slice) of(units []unit) []unit {
	var part []unit
	for i, u := range units {
		if i%p.count == p.index-1 {
			part = append(part, u)
		}
	}
	return part
}

// isProgram says whether a unit's name is that of a program.
func isProgram(name string) bool { return strings.HasPrefix(name, programFolder+"/") }
