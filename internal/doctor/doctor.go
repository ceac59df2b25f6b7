// Package doctor tells what a machine can build and run images on, and how to
// get more. It only looks; the command line's doctor prints what it found.
package doctor

import "context"

// Check is one thing that was looked at.
type Check struct {
	Name   string
	Status Status
	Found  string
	Advice string // what its absence means and how to get it; empty when all is well
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

// Run makes all checks. probe starts a trial image, as monitor.Monitor's Probe.
func Run(ctx context.Context, probe func(context.Context) (string, error)) []Check {
	return []Check{
		checkGo(ctx),
		checkProcess(ctx, probe),
		checkNamespaces(),
		checkSeccomp(),
		checkMemory(),
		checkKVM(),
	}
}
