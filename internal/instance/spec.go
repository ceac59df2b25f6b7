package instance

import (
	"os"
	"runtime"
	"strconv"

	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/libos/boot"
)

// Spec describes an image to run and its resources. Monitor, Image and Memory must be set. The
// zero value of any other field is its default. [Spec.Check] checks the rules.
//
// A Spec owns no files, sockets or streams. The caller closes them after the instance has ended.
type Spec struct {
	// Monitor runs the image.
	Monitor Monitor
	// Image is the image's file, open for reading.
	Image *os.File

	Args []string // the program's arguments; its name comes first
	Env  []string // the program's environment, KEY=VALUE
	Dir  string   // the program's working directory; empty: /

	// User owns the instance's host process, and its sockets in a network namespace of
	// the host; nil: the least privileged user that the caller can change to.
	User *User

	Hostname string
	CPUs     int    // number of CPUs; 0: the host's number, up to MaxCPUs
	Memory   uint64 // bytes
	// HugePages makes the memory of a VM consist of the host's huge pages.
	HugePages bool
	// Trace prints the program's system calls to its standard error.
	Trace bool

	// Stdin, Stdout and Stderr are the program's standard streams. A nil stream is
	// /dev/null. If a stream is a terminal, it is a terminal for the program, too.
	Stdin, Stdout, Stderr *os.File

	Folders []Folder
	Disks   []Disk
	// Vsock is the path of a unix socket. Through it the host reaches the AF_VSOCK
	// sockets of a VM (internal/device/vsock). Empty: the VM has no such sockets.
	Vsock string

	// Network is the network of the network card; nil: no card.
	Network Network
	// Namespace is the network namespace of the host in which Network is opened:
	// the gateway makes its sockets there, and a tap interface is looked for there.
	// nil: the caller's. The image itself is in no network namespace of the host.
	// The owner of the Ports' sockets decides which namespace they are in.
	Namespace *netns.Namespace
	// Ports are the program's published TCP ports. They need a Network.
	Ports []Port

	// Cgroup is the path of a cgroup for the instance's processes
	// (internal/cgroup); empty: the caller's cgroup.
	Cgroup string

	// Machine is for a VM only.
	Machine Machine

	// Log receives details for finding problems; nil: discarded.
	Log func(format string, args ...any)
}

// User is a user and a group of the host, which are not root's.
type User struct{ UID, GID uint32 }

// Folder is a folder of the host that the instance shares.
type Folder struct {
	Host     string // path on the host
	Guest    string // absolute path in the guest, without a colon
	ReadOnly bool
}

// Disk is a raw disk of a VM: a file or a block device of the host. The guest
// finds disks in the order of Spec.Disks.
type Disk struct {
	Path     string
	ReadOnly bool
	Rate     uint64 // maximum of bytes per second; 0: no limit
	IOPS     uint64 // maximum of requests per second; 0: no limit
}

// Port is a TCP port of the program that clients reach through a socket of the
// host.
type Port struct {
	Number uint16 // in the guest
	// Socket is a bound and non-blocking TCP socket of the host, such as one that
	// [Bind] makes.
	//
	// If the socket does not listen when the instance starts, it listens while the
	// program does. At other times the host refuses clients. If the socket already
	// listens when the instance starts, it always keeps listening. Then clients wait
	// until the program accepts them, or the program of a later instance does.
	Socket int
}

// Machine has the settings of an instance's VM. The monitor chooses a value for each empty
// field.
type Machine struct {
	Type        string // one of Description.MachineTypes
	Accelerator string // one of Description.Accelerators
	CPUModel    string
	// Debugger is the HOST:PORT where the VM waits for a debugger before its
	// first instruction.
	Debugger string
}

// Needs returns the parts of the Spec that not every monitor can do.
func (s *Spec) Needs() []Part {
	var needs []Part
	for _, n := range []struct {
		part  Part
		asked bool
	}{
		{MachineType, s.Machine.Type != ""},
		{Accelerator, s.Machine.Accelerator != ""},
		{CPUModel, s.Machine.CPUModel != ""},
		{Debugger, s.Machine.Debugger != ""},
		{Disks, len(s.Disks) > 0},
		{Vsock, s.Vsock != ""},
		{HugePages, s.HugePages},
		{Owner, s.User != nil},
	} {
		if n.asked {
			needs = append(needs, n.part)
		}
	}
	if s.Network != nil {
		needs = append(needs, s.Network.Needs()...)
	}
	return needs
}

// Mounts returns the folders as boot parameters. Tags name them in order.
func Mounts(folders []Folder) []boot.Mount {
	var mounts []boot.Mount
	for i, f := range folders {
		mounts = append(mounts, boot.Mount{Tag: "fs" + strconv.Itoa(i), Path: f.Guest, ReadOnly: f.ReadOnly})
	}
	return mounts
}

// Parameters returns the boot parameters, without the parameters that only the monitor knows.
func (s *Spec) Parameters() boot.Config {
	c := boot.Config{
		CPUs: s.CPUs, Memory: s.Memory, Hostname: s.Hostname, Trace: s.Trace, Dir: s.Dir,
		TTY:    [3]bool{IsTerminal(s.Stdin), IsTerminal(s.Stdout), IsTerminal(s.Stderr)},
		Mounts: Mounts(s.Folders),
	}
	if c.CPUs == 0 {
		c.CPUs = min(runtime.NumCPU(), MaxCPUs)
	}
	for _, p := range s.Ports {
		c.Publish = append(c.Publish, p.Number)
	}
	return c
}
