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

// Probes start trial images, each as monitor.Monitor's Probe.
type Probes struct {
	Process, QEMU Probe
	KVM           Probe // by QEMU
}

// Probe says in a few words what a trial image ran on, or why it did not.
type Probe func(context.Context) (string, error)

// Run makes all checks.
func Run(ctx context.Context, probes Probes) []Check {
	return []Check{
		checkGo(ctx),
		checkProcess(ctx, probes.Process),
		checkNamespaces(),
		checkSeccomp(),
		checkMemory(),
		checkMachines("QEMU monitor", ctx, probes.QEMU, "images do not run as virtual machines; they run as processes all the same"),
		checkMachines("KVM", ctx, probes.KVM, "virtual machines run translated code (TCG), which is much slower"),
	}
}
