package main

import (
	"bytes"
	"sort"
	"time"

	"github.com/pith-os/pith/conformance/harness"
)

// leastFigure: the smallest memory in MB that QEMU gives the machine with which
// the program does its work: hello prints its word, the net/http server answers.
// Found by bisection, once: it does not vary.
var leastFigure = figure{
	name:    "vm-least",
	what:    "virtual machine: smallest memory that runs hello, net/http hello",
	reach:   "12 MB; 24 MB",
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
		l := line{label: p.program.Package[len("./bench/programs/"):], unit: "MB"}
		for _, m := range b.machines() {
			least, err := b.leastMemory(m, p.program, p.works)
			if err != nil {
				return nil, err
			}
			l.medians = append(l.medians, named{m.Name, float64(least)})
			if m.Image {
				l.ratios = append(l.ratios, ratio{digits(float64(least)) + " MB", float64(least) <= p.limit})
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// leastMemory is the smallest memory in MB with which the guest works, at most
// guestMemory.
func (b *bench) leastMemory(m harness.Monitor, p harness.Program, works func(*vm) error) (int, error) {
	g, err := b.newGuest(m, p)
	if err != nil {
		return 0, err
	}
	var failed error // to start or to end a machine
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

// leastPatience is how long a machine may take that has little memory.
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
