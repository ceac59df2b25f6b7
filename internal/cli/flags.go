package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pith-os/pith/internal/instance"
)

// flagOf has the flag for each part of a Spec.
var flagOf = map[instance.Part]string{
	instance.Disks:       "--disk",
	instance.Vsock:       "--vsock",
	instance.TAP:         "--net tap",
	instance.HostNetwork: "--net host",
	instance.Owner:       "--user",
	instance.HugePages:   "--hugepages",
	instance.MachineType: "--machine",
	instance.Accelerator: "--accel",
	instance.CPUModel:    "--cpu-model",
	instance.Debugger:    "--gdb",
	instance.CPUs:        "--cpus",
	instance.Memory:      "--memory",
	instance.Hostname:    "--hostname",
	instance.Folders:     "-v",
	instance.Ports:       "-p",
	instance.Cgroup:      "--cgroup",
	instance.Runner:      "--monitor",
}

// flagged names the flag in place of the part of the Spec that err is about.
func flagged(err error) error {
	var e *instance.Error
	if errors.As(err, &e) && err.Error() == e.Error() && flagOf[e.Part] != "" {
		return fmt.Errorf("%s: %w", flagOf[e.Part], e.Err)
	}
	return err
}

// flagList names the flags of parts.
func flagList(parts []instance.Part) string {
	flags := make([]string, len(parts))
	for i, p := range parts {
		flags[i] = flagOf[p]
	}
	return strings.Join(flags, ", ")
}
