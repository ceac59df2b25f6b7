package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/kvm/probe"
)

// The figures of Pith's own monitor on KVM. What they reach depends on whether
// the host's KVM has the hardware that runs code at CPL 0, or interprets it, as
// one does that is virtualised itself.

// kvmMonitor is its name.
const kvmMonitor = "kvm"

// kvmFound is what KVM does here, or why it does nothing.
var kvmFound = sync.OnceValues(func() (probe.Found, error) { return probe.Run(context.Background()) })

// kvmHost is that in words.
func kvmHost() string {
	found, err := kvmFound()
	if err != nil {
		return "none: " + err.Error()
	}
	return found.String()
}

// goal is a number to reach, and the one where KVM interprets code at CPL 0.
type goal struct{ hardware, interpreted float64 }

func (g goal) here() float64 {
	if found, err := kvmFound(); err == nil && found.Interpreted {
		return g.interpreted
	}
	return g.hardware
}

func (g goal) atMost(v float64) bool  { return v <= g.here() }
func (g goal) atLeast(v float64) bool { return v >= g.here() }

// reachHere is what the figure is to reach on this host.
func (f *figure) reachHere() string {
	if found, err := kvmFound(); err == nil && found.Interpreted && f.interpreted != "" {
		return f.interpreted + " (CPL 0 interpreted)"
	}
	return f.reach
}

// kvmContestants are our monitor and the others that are installed, of those
// named; an error says why ours does not run here.
func (b *bench) kvmContestants(others ...string) ([]harness.Monitor, error) {
	if _, err := kvmFound(); err != nil {
		return nil, err
	}
	list := b.contestants(append([]string{kvmMonitor}, others...)...)
	if len(list) == 0 || list[0].Name != kvmMonitor {
		return nil, fmt.Errorf("the harness has no monitor %s", kvmMonitor)
	}
	return list, nil
}
