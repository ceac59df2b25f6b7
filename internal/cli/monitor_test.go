package cli

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pith-os/pith/internal/monitor"
)

// able is a monitor that can do some of what may be needed.
type able struct {
	recorder
	name, has string
	can       []monitor.Need
	broken    error
}

func (a *able) Name() string                          { return a.name }
func (a *able) Can(n monitor.Need) bool               { return slices.Contains(a.can, n) }
func (a *able) Ready(context.Context) (string, error) { return a.has, a.broken }

func TestMonitorIsOneThatCanDoWhatIsNeeded(t *testing.T) {
	saved := monitors
	defer func() { monitors = saved }()
	disks := &able{name: "disks", has: "it is quick", can: []monitor.Need{monitor.NeedDisks, monitor.NeedVsock}}
	monitors = []monitor.Monitor{
		&able{name: "plain"}, disks,
		&able{name: "debug", can: []monitor.Need{monitor.NeedDisks, monitor.NeedGDB}},
	}
	broken := errors.New("no such device")
	for _, test := range []struct {
		name, preferred string
		needs           []monitor.Need
		broken          error  // of disks
		want            string // the monitor and why, or what the error says
	}{
		{"auto", "plain", nil, nil, "plain"},
		{"auto", "disks", nil, nil, "disks: it is quick"},
		{"auto", "disks", nil, broken, "plain: disks cannot run here: no such device"},
		{"auto", "plain", nil, broken, "plain"},
		{"plain", "disks", nil, nil, "plain"},
		{"debug", "disks", nil, nil, "debug"},
		{"auto", "plain", []monitor.Need{monitor.NeedDisks}, nil, "disks: plain cannot do --disk; it is quick"},
		{"auto", "disks", []monitor.Need{monitor.NeedDisks}, broken, "debug: disks cannot run here: no such device; plain cannot do --disk"},
		{"auto", "disks", []monitor.Need{monitor.NeedDisks, monitor.NeedGDB}, nil, "debug: disks cannot do --gdb; plain cannot do --disk, --gdb"},
		{"auto", "disks", []monitor.Need{monitor.NeedVsock}, broken,
			"nothing here can run this: disks cannot run here: no such device; plain cannot do --vsock; debug cannot do --vsock"},
		{"disks", "disks", []monitor.Need{monitor.NeedDisks}, broken, "disks"}, // and fails
		{"plain", "disks", []monitor.Need{monitor.NeedDisks}, nil, "--disk is not for monitor plain: use --monitor disks or debug"},
		{"debug", "disks", []monitor.Need{monitor.NeedDisks, monitor.NeedVsock}, nil, "--vsock is not for monitor debug: use --monitor disks"},
		{"auto", "disks", []monitor.Need{monitor.NeedVsock, monitor.NeedGDB}, nil, "no monitor can do all of --vsock, --gdb: leave some of it out"},
		{"disks", "disks", []monitor.Need{monitor.NeedVsock, monitor.NeedGDB}, nil, "no monitor can do all of --vsock, --gdb: leave some of it out"},
		{"other", "disks", []monitor.Need{monitor.NeedDisks}, nil, "--monitor other is not known: choose one of auto, plain, disks, debug"},
	} {
		disks.broken = test.broken
		c, err := chooseMonitor(t.Context(), test.name, test.preferred, test.needs)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = c.String()
		}
		if got != test.want {
			t.Errorf("%s with %v: %s\nwant %s", test.name, test.needs, got, test.want)
		}
	}
}

func TestTheChoiceIsExplained(t *testing.T) {
	saved := monitors
	defer func() { monitors = saved }()
	for _, test := range []struct {
		broken error
		want   string
	}{
		{nil, "pith run: kvm, since it works here; pith test, exec and go: process, since it starts fastest"},
		{errors.New("no such device"), "pith run: process, since kvm cannot run here; pith test, exec and go: process, since it starts fastest"},
	} {
		monitors = []monitor.Monitor{&able{name: "process"}, &able{name: "kvm", broken: test.broken}}
		if got, err := explainAuto(t.Context()); err != nil || got != test.want {
			t.Errorf("%s, %v\nwant %s", got, err, test.want)
		}
	}
}
