package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor"
)

// monitors are all monitors. --monitor auto tries the command's preferred one
// first, then the others in this order.
var monitors = monitor.All()

// auto is the value of --monitor that leaves the choice to pith.
const auto = "auto"

// The monitors that commands prefer. A program gets a virtual machine where the
// host can run one without preparation. A test gets a process: tests are many, a
// process starts faster than a virtual machine, and processes run on every host.
const (
	machines  = "kvm"
	processes = "process"
)

func monitorNames() []string {
	names := []string{auto}
	for _, m := range monitors {
		names = append(names, m.Describe().Name)
	}
	return names
}

// choice is a monitor, and the reasons for choosing it.
type choice struct {
	instance.Monitor
	why []string
}

func (c choice) String() string {
	if len(c.why) == 0 {
		return c.Describe().Name
	}
	return c.Describe().Name + ": " + strings.Join(c.why, "; ")
}

// chooseMonitor returns the monitor of the given name, or the first one that is
// ready for auto. The monitor can do all that is needed.
func chooseMonitor(ctx context.Context, name, preferred string, needs []instance.Part) (choice, error) {
	if name == auto {
		return firstReady(ctx, preferred, needs)
	}
	named := func(m instance.Monitor) bool { return m.Describe().Name == name }
	n := slices.IndexFunc(monitors, named)
	able := slices.DeleteFunc(slices.Clone(monitors), func(m instance.Monitor) bool { return len(lacks(m, needs)) > 0 })
	switch {
	case n < 0:
		return choice{}, fmt.Errorf("--monitor %s is not known: choose one of %s", name, strings.Join(monitorNames(), ", "))
	case len(able) == 0:
		return choice{}, noneCan(needs)
	case !slices.ContainsFunc(able, named):
		names := make([]string, len(able))
		for i, m := range able {
			names[i] = m.Describe().Name
		}
		return choice{}, fmt.Errorf("%s is not for monitor %s: use --monitor %s", flagOf[lacks(monitors[n], needs)[0]], name, strings.Join(names, " or "))
	}
	return choice{Monitor: monitors[n]}, nil
}

// firstReady returns the first monitor that can do what is needed and runs here.
func firstReady(ctx context.Context, preferred string, needs []instance.Part) (choice, error) {
	order := slices.Clone(monitors)
	slices.SortStableFunc(order, func(a, b instance.Monitor) int {
		switch {
		case a.Describe().Name == preferred && b.Describe().Name != preferred:
			return -1
		case b.Describe().Name == preferred && a.Describe().Name != preferred:
			return 1
		}
		return 0
	})
	var why []string
	able := false
	for _, m := range order {
		if l := lacks(m, needs); len(l) > 0 {
			why = append(why, fmt.Sprintf("%s cannot do %s", m.Describe().Name, flagList(l)))
			continue
		}
		able = true
		has, err := m.Ready(ctx)
		if ctx.Err() != nil {
			return choice{}, ctx.Err()
		}
		if err != nil {
			why = append(why, fmt.Sprintf("%s cannot run here: %v", m.Describe().Name, err))
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

// explainAuto says which monitor --monitor auto chooses on this host, and why.
func explainAuto(ctx context.Context) (string, error) {
	var lines []string
	for _, command := range []struct{ name, preferred, since string }{
		{"pith run", machines, "it works here"},
		{"pith test, exec and go", processes, "it starts fastest"},
	} {
		c, err := firstReady(ctx, command.preferred, nil)
		if err != nil {
			return "", err
		}
		since := command.since
		if c.Describe().Name != command.preferred {
			since = command.preferred + " cannot run here"
		}
		lines = append(lines, fmt.Sprintf("%s: %s, since %s", command.name, c.Describe().Name, since))
	}
	return strings.Join(lines, "; "), nil
}

// lacks returns what the monitor cannot do of what is needed.
func lacks(m instance.Monitor, needs []instance.Part) []instance.Part {
	can := m.Describe().Can
	return slices.DeleteFunc(slices.Clone(needs), func(p instance.Part) bool { return slices.Contains(can, p) })
}

func noneCan(needs []instance.Part) error {
	return fmt.Errorf("no monitor can do all of %s: leave some of it out", flagList(needs))
}
