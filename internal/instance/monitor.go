package instance

import (
	"context"
	"fmt"

	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Monitor is a kind of monitor, which is the host program under an image (other projects call it
// a VMM or a tender). Each kind is a package below internal/monitor, which lists them.
type Monitor interface {
	// Describe returns the monitor's description, which is the same on every host.
	Describe() *Description

	// Ready returns an error if the monitor cannot run images on this host. Otherwise
	// it returns a short description of what the host has for this monitor, or an empty
	// string. Ready is fast: it may return an earlier result.
	Ready(ctx context.Context) (string, error)

	// Probe starts a trial image and returns a short description of what it ran on. An
	// error says why the monitor cannot run images on this host, and how to change
	// that.
	Probe(ctx context.Context) (string, error)

	// Start starts an image and returns when it runs. If Start fails or the calling
	// process ends, even by a kill, no process of the image is left.
	Start(ctx context.Context, l *Launch) (Running, error)
}

// Description describes a monitor as data.
type Description struct {
	Name string // the name for users: "kvm"
	VM   bool   // its instances are virtual machines
	Can  []Part // optional parts that the monitor supports

	// Needs lists what the host must have for the monitor, besides Linux.
	Needs []Requirement
	// Essential means that the host cannot run any images without this monitor.
	Essential bool
	// Without describes what users lack on a host that the monitor does not run on.
	Without string

	MinMemory  uint64 // minimum memory of an instance, in bytes
	MaxDevices int    // maximum number of folders and disks of an instance; 0: no limit

	// MachineTypes are the types of VM that the monitor makes, if it makes several. The
	// first is the default.
	MachineTypes []string
	// Accelerators are the ways to execute the code of a VM, if the monitor has several.
	Accelerators []string
	// CPUModels are models of a VM's CPUs that differ enough for tests to
	// cover each of them.
	CPUModels []string
}

// Requirement is something that the host must have for a monitor.
type Requirement struct {
	What string // "/dev/kvm"
	// Install says how to get it. It is empty for a property of the hardware or the
	// kernel, which users cannot install.
	Install string
}

// Launch is the input of [Monitor.Start]: a checked Spec, and the values that [Start] has
// derived from it. Spec.Log is never nil.
type Launch struct {
	*Spec
	// Boot has the boot parameters. The monitor adds the parameters that only it knows:
	// the process id, the clock, the addresses of devices. It also adds arguments and
	// environment if it passes them as boot parameters.
	Boot boot.Config
	// Network is the network of the network card. It is nil if and only if Boot.Net is
	// nil.
	Network link.Network
	// Sockets is Plug.Sockets of the network; nil: no host sockets.
	Sockets *hostinet.Config
	// Listen makes the socket of a published port listen, so that up to backlog clients
	// may wait, or stops that (-1). A monitor whose images accept clients themselves calls
	// it. The error is one for the program, such as EADDRINUSE.
	Listen func(port uint16, backlog int) error
	// Verbose is set if the caller has set Spec.Log.
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
	// How returns a short description of the environment that the image runs in.
	How() string
	// Processes returns the ids of the instance's host processes. No other process gets
	// these ids until Result returns.
	Processes() []int
	// Signal sends the program a signal. SIGKILL, SIGSTOP and SIGCONT act on the
	// instance's processes. It must not be called after Result.
	Signal(sig unix.Signal)
	// Ended is closed when the instance's processes have ended.
	Ended() <-chan struct{}

	// Tasks returns the functions that the monitor runs for the image while it runs.
	// Each returns soon after Stop. An error means that the monitor failed, and the
	// instance is killed.
	Tasks() []func(ctx context.Context) error

	// Receive calls handle with each control message of the image, until the
	// image ends. The image is not trusted.
	Receive(handle func(message string))
	// Acknowledge sends the image an acknowledgement of its control message, if images
	// on this monitor wait for one.
	Acknowledge(message string)
	// Accepts reports whether the image accepts the connections of published
	// ports itself. Otherwise the Network does.
	Accepts() bool

	// Link returns the network card's link, which Launch.Network serves. It is nil if
	// there is no card, or if the host's kernel moves the packets.
	Link() link.Link
	// Unplug takes the network card away from the running image. It does what closing
	// the Link has not already done.
	Unplug() error

	// Stop ends the tasks and Receive. It is called once, after Ended.
	Stop() error
	// Result releases the instance's remaining resources and returns the exit code. An
	// error means that the monitor failed. It is called once, after Stop, when all tasks
	// have returned.
	Result() (exitCode int, err error)
}
