package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"github.com/pith-os/pith/conformance/harness"
)

// bootFigure: from the guest's first instruction to main. Each kernel gets an entry
// before its own, which writes the time stamp counter to a port. The program prints
// the counter that main reads first. The guest's counter has the frequency of the
// host's, which the plain program measures.
var bootFigure = figure{
	name:    "vm-boot",
	what:    "entry to main(), against the Linux guest's to its init's",
	goal:    "at least 20 times faster",
	measure: measureBoot,
}

func measureBoot(b *bench) ([]line, error) {
	program := harness.Program{Package: "./bench/programs/tsc"}
	text, err := b.output(harness.Plain, program)
	if err != nil {
		return nil, err
	}
	host, err := parseTicks([]byte(text))
	if err != nil {
		return nil, err
	}
	guests := make(map[string]*guest)
	for _, m := range b.vmContestants() {
		g, err := b.newGuest(m, program)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		if g.kernel, err = stamped(g.kernel); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		g.args = []string{"-chardev", fmt.Sprintf("file,id=stamp,path=/proc/self/fd/%d", firstFD),
			"-device", fmt.Sprintf("isa-debugcon,iobase=%#x,chardev=stamp", stampPort)}
		guests[m.Name] = g
	}
	all, err := b.alternate(b.vmContestants(), func(m harness.Monitor) (float64, error) {
		t, err := b.entryToMain(guests[m.Name])
		return float64(t) / host.perSecond * 1000, err
	})
	if err != nil {
		return nil, err
	}
	l := newLine("", "ms", all)
	l.compare(linux.Name, func(r float64) bool { return r <= 1.0/20 })
	return []line{l}, nil
}

// entryToMain boots a stamped guest. It returns the ticks from the guest's entry to
// main.
func (b *bench) entryToMain(g *guest) (_ uint64, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	m, err := b.start(g, w)
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if endErr := m.end(); err == nil {
			err = endErr
		}
	}()
	var main ticks
	err = m.await(startTimeout, func(text []byte) bool {
		main, err = parseTicks(text)
		return err == nil
	})
	if err != nil {
		return 0, err
	}
	var entry [8]byte
	if _, err := io.ReadFull(r, entry[:]); err != nil {
		return 0, fmt.Errorf("the time of the entry: %w", err)
	}
	return main.first - binary.LittleEndian.Uint64(entry[:]), nil
}

// ticks is what the program prints.
type ticks struct {
	first     uint64
	perSecond float64
}

var ticksLine = regexp.MustCompile(`(?m)^(\d+) (\d+)\r?\n`)

func parseTicks(text []byte) (t ticks, err error) {
	found := ticksLine.FindSubmatch(text)
	if found == nil {
		return t, fmt.Errorf("no ticks in %q", text)
	}
	if t.first, err = strconv.ParseUint(string(found[1]), 10, 64); err == nil {
		t.perSecond, err = strconv.ParseFloat(string(found[2]), 64)
	}
	return t, err
}
