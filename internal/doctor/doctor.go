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
	Process, KVM, QEMU Probe
	// Auto says which of them --monitor auto is, and why.
	Auto Probe
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
		checkLimited("KVM monitor", ctx, probes.KVM, "pith run starts processes instead, and virtual machines need QEMU, which translates their code (TCG): much slower"),
		checkLimited("QEMU monitor", ctx, probes.QEMU, "images do not run as PCs, with PCI or a debugger; pith run does without"),
		checkLimited("--monitor auto", ctx, probes.Auto, "choose a monitor by --monitor"),
		checkLimited("pith itself", ctx, standsAlone, "the KVM monitor's jail keeps this machine's root, denied by Landlock: with CGO_ENABLED=0 go install, it is empty"),
	}
}
