package main

import (
	"context"
	"fmt"
	"strings"
)

// unit is run as a whole: the tests of a package, or a program of the
// distribution's test/ directory.
type unit struct {
	name    string   // import path, or test/ken/array.go
	program *program // nil for a package
}

// collection has all units.
type collection struct {
	units   []unit
	leftOut map[string][]string // programs of test/ that do not run, by reason
}

// units returns the packages with tests and the programs of the distribution.
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

// slice is part index of count parts, from 1.
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

// of deals the units out in turns, so that large ones go to all parts.
func (p slice) of(units []unit) []unit {
	var part []unit
	for i, u := range units {
		if i%p.count == p.index-1 {
			part = append(part, u)
		}
	}
	return part
}

// isProgram reports whether a unit's name is the name of a program.
func isProgram(name string) bool { return strings.HasPrefix(name, programFolder+"/") }
