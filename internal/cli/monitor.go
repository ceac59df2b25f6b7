package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/monitor/kvm"
	"github.com/pith-os/pith/internal/monitor/process"
	"github.com/pith-os/pith/internal/monitor/qemu"
)

// monitors are all that there are. --monitor auto tries the command's preferred
// one first, then the others in this order.
var monitors = []monitor.Monitor{process.Monitor{}, kvm.Monitor{}, qemu.Monitor{}}

// auto is the value of --monitor that leaves the choice to pith.
const auto = "auto"

// Which monitors commands prefer. A program gets a virtual machine where there
// can be one without further ado. A test gets a process: it is one of many, each
// of which starts faster as a process than as a machine, and it goes on the same
// way wherever it runs.
const (
	machines  = "kvm"
	processes = "process"
)

func monitorNames() []string {
	names := []string{auto}
	for _, m := range monitors {
		names = append(names, m.Name())
	}
	return names
}

// choice is a monitor and why it is that one.
type choice struct {
	monitor.Monitor
	why []string
}

func (c choice) String() string {
	if len(c.why) == 0 {
		return c.Name()
	}
	return c.Name() + ": " + strings.Join(c.why, "; ")
}

// chooseMonitor is the monitor that was asked for, which must be able to do what
// is needed.
func chooseMonitor(ctx context.Context, name, preferred string, needs []monitor.Need) (choice, error) {
	if name == auto {
		return firstReady(ctx, preferred, needs)
	}
	named := func(m monitor.Monitor) bool { return m.Name() == name }
	n := slices.IndexFunc(monitors, named)
	able := slices.DeleteFunc(slices.Clone(monitors), func(m monitor.Monitor) bool { return len(lacks(m, needs)) > 0 })
	switch {
	case n < 0:
		return choice{}, fmt.Errorf("--monitor %s is not known: choose one of %s", name, strings.Join(monitorNames(), ", "))
	case len(able) == 0:
		return choice{}, noneCan(needs)
	case !slices.ContainsFunc(able, named):
		names := make([]string, len(able))
		for i, m := range able {
			names[i] = m.Name()
		}
		return choice{}, fmt.Errorf("%s is not for monitor %s: use --monitor %s", lacks(monitors[n], needs)[0], name, strings.Join(names, " or "))
	}
	return choice{Monitor: monitors[n]}, nil
}

// firstReady is the first monitor that can do what is needed, and is ready to.
func firstReady(ctx context.Context, preferred string, needs []monitor.Need) (choice, error) {
	order := slices.Clone(monitors)
	slices.SortStableFunc(order, func(a, b monitor.Monitor) int {
		switch {
		case a.Name() == preferred && b.Name() != preferred:
			return -1
		case b.Name() == preferred && a.Name() != preferred:
			return 1
		}
		return 0
	})
	var why []string
	able := false
	for _, m := range order {
		if l := lacks(m, needs); len(l) > 0 {
			why = append(why, fmt.Sprintf("%s cannot do %s", m.Name(), join(l)))
			continue
		}
		able = true
		has, err := m.Ready(ctx)
		if ctx.Err() != nil {
			return choice{}, ctx.Err()
		}
		if err != nil {
			why = append(why, fmt.Sprintf("%s cannot run here: %v", m.Name(), err))
			continue
		}
		if has != "" {
			why = append(why, has)
		}
		return choice{m, why}, nil
	}
	if !able {
		return choice{}, noneCan(needs)
	}
	return choice{}, fmt.Errorf("nothing here can run this: %s", strings.Join(why, "; "))
}

// explainAuto says what --monitor auto is on this machine, and why.
func explainAuto(ctx context.Context) (string, error) {
	var words []string
	for _, command := range []struct{ name, preferred, since string }{
		{"pith run", machines, "it works here"},
		{"pith test, exec and go", processes, "it starts fastest"},
	} {
		c, err := firstReady(ctx, command.preferred, nil)
		if err != nil {
			return "", err
		}
		since := command.since
		if c.Name() != command.preferred {
			since = command.preferred + " cannot run here"
		}
		words = append(words, fmt.Sprintf("%s: %s, since %s", command.name, c.Name(), since))
	}
	return strings.Join(words, "; "), nil
}

// lacks is what the monitor cannot do of what is needed.
func lacks(m monitor.Monitor, needs []monitor.Need) []monitor.Need {
	return slices.DeleteFunc(slices.Clone(needs), m.Can)
}

func noneCan(needs []monitor.Need) error {
	return fmt.Errorf("no monitor can do all of %s: leave some of it out", join(needs))
}

func join(needs []monitor.Need) string {
	words := make([]string, len(needs))
	for i, n := range needs {
		words[i] = string(n)
	}
	return strings.Join(words, ", ")
}
