package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/pith-os/pith/conformance/harness"
	"github.com/pith-os/pith/internal/kvm/probe"
)

// The figures of Pith's own monitor on KVM. Some goals differ by host. Most hosts
// have hardware that runs a guest's code at CPL 0. On a host that is a virtual
// machine itself, KVM may interpret that code instead.

// kvmMonitor is the name of Pith's own monitor.
const kvmMonitor = "kvm"

// kvmFound returns what KVM does on this host, or why it does nothing.
var kvmFound = sync.OnceValues(func() (probe.Found, error) { return probe.Run(context.Background()) })

// kvmHost returns the same as text.
func kvmHost() string {
	found, err := kvmFound()
	if err != nil {
		return "none: " + err.Error()
	}
	return found.String()
}

// limit is the number that a goal asks for, on hosts with the hardware for CPL 0
// and on hosts where KVM interprets it.
type limit struct{ hardware, interpreted float64 }

func (g limit) here() float64 {
	if found, err := kvmFound(); err == nil && found.Interpreted {
		return g.interpreted
	}
	return g.hardware
}

func (g limit) atMost(v float64) bool  { return v <= g.here() }
func (g limit) atLeast(v float64) bool { return v >= g.here() }

// goalHere returns the figure's goal on this host.
func (f *figure) goalHere() string {
	if found, err := kvmFound(); err == nil && found.Interpreted && f.interpreted != "" {
		return f.interpreted + " (CPL 0 interpreted)"
	}
	return f.goal
}

// kvmContestants returns Pith's own monitor, and those of the others that are
// installed. The error says why Pith's own does not run here.
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
