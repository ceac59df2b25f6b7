// Package doctor says what a host can build and run images on, and how to get
// more. It only looks. The command line's doctor prints what it found.
package doctor

import (
	"context"

	"github.com/pith-os/pith/internal/instance"
)

// Check is the result of one check.
type Check struct {
	Name   string
	Status Status
	Found  string
	Advice string // what a lack means and how to end it; empty if Status is OK
}

// Status is the outcome of a check.
type Status int

// Outcomes of a check.
const (
	OK      Status = iota
	Limited        // images work, with less than there could be
	Missing        // something does not work
)

func (s Status) String() string { return [...]string{"ok", "limited", "missing"}[s] }

// Probe says in a few words what a trial ran on. An error says why it did not run.
type Probe func(context.Context) (string, error)

// Run makes all checks. monitors are all monitors; auto says which of them pith
// chooses by itself, and why.
func Run(ctx context.Context, monitors []instance.Monitor, auto Probe) []Check {
	checks := []Check{checkGo(ctx), checkNamespaces(), checkSeccomp(), checkMemory()}
	for _, m := range monitors {
		checks = append(checks, checkMonitor(ctx, m))
	}
	return append(checks,
		checkLimited("--monitor auto", ctx, auto, "choose a monitor by --monitor"),
		checkLimited("pith itself", ctx, standsAlone, "the KVM monitor's jail keeps the host's root, denied by Landlock: with CGO_ENABLED=0 go install, it is empty"),
	)
}
