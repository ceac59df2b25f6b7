// Package monitor lists the kinds of monitors, which are the host programs under an image. Each
// kind is a package below this one. It implements [instance.Monitor] and has an entry in the
// list. The command line, pith doctor and the conformance harness use the list.
package monitor

import (
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/jail"
	"github.com/pith-os/pith/internal/monitor/kvm"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// kinds lists all monitors. Some monitors execute this program again as a child. They have a
// function that runs as this child.
var kinds = []struct {
	instance.Monitor
	child func()
}{
	{process.Monitor{}, process.Main},
	{kvm.Monitor{}, kvm.Main},
	{qemu.Monitor{}, nil},
}

// All returns all monitors. Pith tries them in this order.
func All() []instance.Monitor {
	all := make([]instance.Monitor, len(kinds))
	for i, k := range kinds {
		all[i] = k.Monitor
	}
	return all
}

// Child runs as the child of a monitor if this process was started as one. Otherwise it returns
// at once. It must be the first call of main.
func Child() {
	jail.Main()
	for _, k := range kinds {
		if k.child != nil {
			k.child()
		}
	}
}
