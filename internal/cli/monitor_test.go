package cli

import (
	"context"
	"errors"
	"testing"

	"github.com/pith-os/pith/internal/instance"
)

// able is a monitor that can do some of what may be needed.
type able struct {
	recorder
	name, has string
	can       []instance.Part
	broken    error
}

func (a *able) Describe() *instance.Description {
	return &instance.Description{Name: a.name, Can: a.can}
}
func (a *able) Ready(context.Context) (string, error) { return a.has, a.broken }

func TestMonitorIsOneThatCanDoWhatIsNeeded(t *testing.T) {
	saved := monitors
	defer func() { monitors = saved }()
	disks := &able{name: "disks", has: "it is quick", can: []instance.Part{instance.Disks, instance.Vsock}}
	monitors = []instance.Monitor{
		&able{name: "plain"}, disks,
		&able{name: "debug", can: []instance.Part{instance.Disks, instance.Debugger}},
	}
	broken := errors.New("no such device")
	for _, test := range []struct {
		name, preferred string
		needs           []instance.Part
		broken          error  // of disks
		want            string // the monitor and why, or what the error says
	}{
		{"auto", "plain", nil, nil, "plain"},
		{"auto", "disks", nil, nil, "disks: it is quick"},
		{"auto", "disks", nil, broken, "plain: disks cannot run here: no such device"},
		{"auto", "plain", nil, broken, "plain"},
		{"plain", "disks", nil, nil, "plain"},
		{"debug", "disks", nil, nil, "debug"},
		{"auto", "plain", []instance.Part{instance.Disks}, nil, "disks: plain cannot do --disk; it is quick"},
		{"auto", "disks", []instance.Part{instance.Disks}, broken, "debug: disks cannot run here: no such device; plain cannot do --disk"},
		{"auto", "disks", []instance.Part{instance.Disks, instance.Debugger}, nil, "debug: disks cannot do --gdb; plain cannot do --disk, --gdb"},
		{"auto", "disks", []instance.Part{instance.Vsock}, broken,
			"nothing here can run this: disks cannot run here: no such device; plain cannot do --vsock; debug cannot do --vsock"},
		{"disks", "disks", []instance.Part{instance.Disks}, broken, "disks"}, // and fails
		{"plain", "disks", []instance.Part{instance.Disks}, nil, "--disk is not for monitor plain: use --monitor disks or debug"},
		{"debug", "disks", []instance.Part{instance.Disks, instance.Vsock}, nil, "--vsock is not for monitor debug: use --monitor disks"},
		{"auto", "disks", []instance.Part{instance.Vsock, instance.Debugger}, nil, "no monitor can do all of --vsock, --gdb: leave some of it out"},
		{"disks", "disks", []instance.Part{instance.Vsock, instance.Debugger}, nil, "no monitor can do all of --vsock, --gdb: leave some of it out"},
		{"other", "disks", []instance.Part{instance.Disks}, nil, "--monitor other is not known: choose one of auto, plain, disks, debug"},
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
		monitors = []instance.Monitor{&able{name: "process"}, &able{name: "kvm", broken: test.broken}}
		if got, err := explainAuto(t.Context()); err != nil || got != test.want {
			t.Errorf("%s, %v\nwant %s", got, err, test.want)
		}
	}
}
