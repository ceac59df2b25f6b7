// Package monitor lists the kinds of monitors: the host programs under an image.
// Each kind is a package below this one, implements [instance.Monitor] and has a
// line in this list. The command line, pith doctor and the conformance harness
// find it here.
package monitor

import (
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/kvm"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// kinds are all monitors. A monitor that executes this program again, as a child
// of its own, has a function that becomes this child.
var kinds = []struct {
	instance.Monitor
	child func()
}{
	{process.Monitor{}, process.Main},
	{kvm.Monitor{}, kvm.Main},
	{qemu.Monitor{}, nil},
}

// All returns all monitors, in the order in which they are tried.
func All() []instance.Monitor {
	all := make([]instance.Monitor, len(kinds))
	for i, k := range kinds {
		all[i] = k.Monitor
	}
	return all
}

// Child becomes the child of a monitor if this process was started as one.
// Otherwise it returns at once. It must be the first call of main.
func Child() {
	jail.Main()
	for _, k := range kinds {
		if k.child != nil {
			k.child()
		}
	}
}
