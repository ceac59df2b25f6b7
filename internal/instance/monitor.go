package instance

import (
	"context"
	"fmt"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Monitor is a kind of monitor: the host program under an image (others say
// VMM or tender). Each is a package below internal/monitor, which lists them.
type Monitor interface {
	// Describe returns what the monitor is and can do. It is data: the same
	// on every host.
	Describe() *Description

	// Ready says in a few words what the host has for this monitor, if that
	// is known, or returns why the monitor cannot run images here. It takes
	// no time: what it says may have been found earlier.
	Ready(ctx context.Context) (string, error)

	// Probe starts a trial image and says in a few words what it ran on. An
	// error says why the monitor cannot run images here, and what would
	// change that.
	Probe(ctx context.Context) (string, error)

	// Start starts an image and returns when it runs. When it fails, or the
	// calling process ends in whatever way, nothing of the image is left.
	Start(ctx context.Context, l *Launch) (Running, error)
}

// Description is what a monitor is, as data.
type Description struct {
	Name string // as users choose it: "kvm"
	VM   bool   // its instances are virtual machines
	Can  []Part // of the parts that not every monitor can do

	// Needs are what the monitor needs of the host, besides Linux.
	Needs []Requirement
	// Essential is true if the host runs no images at all without this
	// monitor.
	Essential bool
	// Without says what users miss on a host where the monitor does not run.
	Without string

	MinMemory  uint64 // least memory of an instance, in bytes
	MaxDevices int    // most folders and disks of an instance; 0: no limit

	// MachineTypes are the types of VM that the monitor makes, if there are
	// several. It prefers the first.
	MachineTypes []string
	// Accelerators are what may execute the code of a VM, if there are
	// several.
	Accelerators []string
	// CPUModels are models of a VM's CPUs that differ enough for tests to
	// cover each of them.
	CPUModels []string
}

// Requirement is something that a monitor needs of the host.
type Requirement struct {
	What string // "/dev/kvm"
	// Install says how to get it; empty: the hardware and the kernel have it,
	// or nobody can install it.
	Install string
}

// Launch is what a Monitor starts: a Spec that was checked, and what [Start]
// has made of it. Spec.Log is never nil.
type Launch struct {
	*Spec
	// Boot are the boot parameters, without what the monitor alone decides:
	// the process id, the clock, the places of devices. A monitor that passes
	// arguments and environment as boot parameters adds them.
	Boot boot.Config
	// Network is what the network card is plugged into. It is nil exactly if
	// Boot.Net is.
	Network link.Network
	// Verbose reports whether somebody reads Spec.Log.
	Verbose bool
}

// Warn writes a line for the user about the instance to the instance's standard error.
func (l *Launch) Warn(format string, args ...any) {
	if l.Stderr != nil {
		fmt.Fprintf(l.Stderr, "pith: "+format+"\n", args...)
	}
}

// Running is an image that a Monitor has started. Only the supervise loop of
// this package calls it.
type Running interface {
	// How says in a few words what the image runs in.
	How() string
	// Processes returns the ids of the host processes that are the instance.
	// They belong to nobody else until Result returns.
	Processes() []int
	// Signal sends the program a signal. SIGKILL, SIGSTOP and SIGCONT act on
	// the instance's processes. It may be called until Result is called.
	Signal(sig unix.Signal)
	// Ended is closed when the instance's processes have ended.
	Ended() <-chan struct{}

	// Tasks are the work that the monitor does for the image while it runs.
	// Each task returns soon after Stop. An error of a task is a failure of
	// the monitor: the instance is killed.
	Tasks() []func(ctx context.Context) error

	// Receive calls handle with each control message of the image, until the
	// image ends. The image is not trusted.
	Receive(handle func(message string))
	// Acknowledge tells the image that a control message of its was acted
	// upon, if the image of such a monitor waits for that.
	Acknowledge(message string)
	// Accepts reports whether the image accepts the connections of published
	// ports itself. Otherwise the Network does.
	Accepts() bool

	// Link is the network card's link, for Launch.Network to serve. It is nil
	// if there is no card, or if somebody else moves its packets.
	Link() link.Link
	// Unplug takes the network card away from the running image, as far as
	// closing its Link has not done so.
	Unplug() error

	// Stop ends the tasks and Receive. It is called once, after Ended.
	Stop() error
	// Result releases all that is left of the instance, and returns the exit
	// code. An error is a failure of the monitor. It is called once, after
	// Stop, when all tasks have returned.
	Result() (exitCode int, err error)
}
