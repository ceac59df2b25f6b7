package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pith-os/pith/internal/kvm/probe"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// monitor is a way to run a test binary.
type monitor struct {
	name  string
	flags []string // flags of pith exec; none: a plain binary, run as a Linux process
	scale int      // how many times slower than the host's CPU it may run
}

// plain is the baseline: unchanged Go on Linux.
const plain = "plain"

func (m monitor) image() bool { return m.name != plain }

var monitors = []monitor{
	{name: plain},
	{name: "process", flags: []string{"--monitor", "process"}},
	{name: "kvm", flags: []string{"--monitor", "kvm"}},
	{name: "qemu", flags: []string{"--monitor", "qemu"}},
	{name: "q35", flags: []string{"--monitor", "qemu", "--machine", qemu.Q35}},
}

// emulatedScale multiplies timeouts, Go's (GO_TEST_TIMEOUT_SCALE) and our own, where
// QEMU translates instructions, or KVM interprets those at CPL 0: a change of a mapping
// then takes a hundred times as long.
const emulatedScale = 3

func monitorNames() []string {
	var names []string
	for _, m := range monitors {
		names = append(names, m.name)
	}
	return names
}

// chooseMonitors returns the monitors of these names, in the order of the table.
func chooseMonitors(ctx context.Context, names []string) ([]monitor, error) {
	var chosen []monitor
	known := make(map[string]bool)
	for _, m := range monitors {
		known[m.name] = true
		for _, name := range names {
			if name == m.name {
				var err error
				if m.scale, err = scaleOf(ctx, m); err != nil {
					return nil, fmt.Errorf("--monitor %s: %w", name, err)
				}
				chosen = append(chosen, m)
				break
			}
		}
	}
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("--monitor %s is not known: choose of %s", name, strings.Join(monitorNames(), ", "))
		}
	}
	return chosen, nil
}

// scaleOf returns how many times slower m may run here, or an error that says why
// it does not run.
func scaleOf(ctx context.Context, m monitor) (int, error) {
	switch m.name {
	case plain, "process":
		return 1, nil
	case "kvm":
		found, err := probe.Run(ctx)
		if found.Interpreted {
			return emulatedScale, err
		}
		return 1, err
	}
	if accelerator(ctx) == qemu.TCG {
		return emulatedScale, nil
	}
	return 1, nil
}

// accelerator returns the accelerator that QEMU uses on this host.
func accelerator(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := qemu.TryKVM(ctx); err != nil {
		return qemu.TCG
	}
	return qemu.KVM
}
