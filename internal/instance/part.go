package instance

import "fmt"

// Part is a part of a Spec. Errors name the wrong part, and a Description lists the parts that a
// monitor supports. A caller may translate the names, for example into flags of a command line.
type Part string

// Parts that not every monitor can do.
const (
	Disks       Part = "disks"
	Vsock       Part = "vsock"
	TAP         Part = "tap interface"
	HostNetwork Part = "network of the host"
	Owner       Part = "user"
	HugePages   Part = "huge pages"
	MachineType Part = "machine type"
	Accelerator Part = "accelerator"
	CPUModel    Part = "CPU model"
	Debugger    Part = "debugger"
)

// Parts that every monitor can do.
const (
	Arguments Part = "arguments"
	CPUs      Part = "CPUs"
	Memory    Part = "memory"
	Hostname  Part = "hostname"
	Folders   Part = "folders"
	Ports     Part = "ports"
	Cgroup    Part = "cgroup"
	Runner    Part = "monitor"
)

// Error is a mistake in one part of a Spec.
type Error struct {
	Part Part
	Err  error // the mistake and its remedy
}

func (e *Error) Error() string { return string(e.Part) + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an [Error] about part.
func Errorf(part Part, format string, args ...any) error {
	return &Error{part, fmt.Errorf(format, args...)}
}
