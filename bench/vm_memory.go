package main

import (
	"bytes"
	"sort"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// leastFigure: the smallest memory of the virtual machine, in MB, with which the
// program works: hello prints its line, the net/http server answers. A bisection
// finds it. It is measured once, because it does not vary.
var leastFigure = figure{
	name:    "vm-least",
	what:    "smallest memory that runs hello, net/http hello",
	goal:    "12 MB; 24 MB",
	measure: measureLeast,
}

func measureLeast(b *bench) ([]line, error) {
	var lines []line
	for _, p := range []struct {
		program harness.Program
		limit   float64 // MB
		works   func(*vm) error
	}{
		{harness.Program{Package: "./bench/programs/hello"}, 12, saysHello},
		{onMachine("nethello"), 24, func(v *vm) error { return v.answers(answersHTTP) }},
	} {
		l := line{Label: p.program.Package[len("./bench/programs/"):], Unit: "MB"}
		for _, m := range b.vmContestants() {
			least, err := b.leastMemory(m, p.program, p.works)
			if err != nil {
				return nil, err
			}
			l.Medians = append(l.Medians, value{m.Name, float64(least)})
			if m.Image {
				l.Ratios = append(l.Ratios, ratio{digits(float64(least)) + " MB", float64(least) <= p.limit})
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// leastMemory returns the smallest memory in MB with which the guest works. The
// largest that it tries is guestMemory.
func (b *bench) leastMemory(m harness.Monitor, p harness.Program, works func(*vm) error) (int, error) {
	g, err := b.newGuest(m, p)
	if err != nil {
		return 0, err
	}
	var failed error // to start or to end a virtual machine
	least := 1 + sort.Search(guestMemory-1, func(n int) bool {
		g.memory = 1 + n
		v, err := b.start(g)
		if err != nil {
			failed = err
			return true
		}
		answer := works(v)
		if err := v.end(); err != nil {
			failed = err
		}
		return answer == nil
	})
	return least, failed
}

// leastPatience is how long a virtual machine with little memory may take.
const leastPatience = 20 * time.Second

func saysHello(v *vm) error {
	return v.await(leastPatience, func(text []byte) bool { return bytes.Contains(text, []byte("hello\r\n")) })
}

// answers waits until the guest's server answers.
func (v *vm) answers(answer func(string) error) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	late := time.After(leastPatience)
	for {
		err := answer(v.addr)
		if err == nil {
			return nil
		}
		select {
		case <-late:
			return err
		case <-v.ended:
			return err
		case <-again.C:
		}
	}
}
