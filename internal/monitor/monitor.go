// Package monitor says what a monitor is: the host program under an image
// (others say VMM or tender). Each kind of monitor is a package below this
// one; the command line chooses among them and calls Run.
package monitor

import (
	"context"
	"net/netip"
	"os"
	"strconv"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"
)

// ExitFailure is the exit code of `pith run` when the monitor itself failed,
// as opposed to the program. Docker and env(1) use the same number.
const ExitFailure = 125

// Monitor runs images.
type Monitor interface {
	// Name is the monitor's name on the command line.
	Name() string

	// Can says whether instances can have what n is.
	Can(n Need) bool

	// Ready says in a few words what this machine has for it, if that is
	// known, or why it cannot run images this way. It takes no time: what it
	// says may have been found earlier.
	Ready(ctx context.Context) (string, error)

	// Probe starts a trial image and says in a few words how it was
	// confined. An error says why this machine cannot run images this way
	// and what would change that.
	Probe(ctx context.Context) (string, error)

	// Run starts an instance and waits for its end. The exit code is the
	// program's own, or 128 plus the number of the signal that ended it. An
	// error is a failure of the monitor: there is no exit code then. When
	// ctx is done the instance is killed. Nothing of the instance is left
	// when Run returns, nor when the monitor is killed.
	Run(ctx context.Context, c *Config) (exitCode int, err error)
}

// Config is one instance.
type Config struct {
	Image *os.File // the image, open for reading
	Args  []string // arguments of the program, its name first
	Env   []string // environment of the program, KEY=VALUE

	// Boot are the boot parameters as far as the caller knows them. The
	// monitor fills in PID, Publish and TTY.
	Boot boot.Config

	Stdin, Stdout, Stderr *os.File // the program's; nil: /dev/null

	// Folders are those of the host that the program sees.
	Folders []Folder

	// Machine is the virtual machine, for the monitors that make one.
	Machine Machine

	// Publish are the TCP ports of the program that clients reach on the
	// host. (UDP ports are published by the Network.)
	Publish []Port

	// Network is what the network device is plugged into. It must be there
	// exactly when Boot.Net is.
	Network link.Network

	// Disks are the virtual machine's, in the order of their names there.
	Disks []Disk
	// Vsock is the path of a unix socket by which the host reaches the
	// virtual machine's AF_VSOCK sockets, and below which the machine
	// reaches the host's (internal/device/vsock); empty: no such device.
	Vsock  string
	Limits Limits

	// Log receives what --verbose shows; nil: nothing.
	Log func(format string, args ...any)
}

// Disk is a disk of a virtual machine: a raw file or a block device.
type Disk struct {
	Path     string
	ReadOnly bool
}

// Limits bound what an instance takes of the host. Zero: no limit. (What it
// sends and receives is the Network's matter.)
type Limits struct {
	DiskRate uint64 // bytes a second of each disk
	DiskIOPS uint64 // requests a second of each disk

	HugePages bool   // the machine's memory is of the host's huge pages
	Cgroup    string // path of a cgroup that the instance is placed in; empty: the monitor's
}

// Machine is what an instance asks of its virtual machine. What is empty is
// the monitor's choice.
type Machine struct {
	Type  string // of the monitor's machine types
	Accel string // what executes its code: kvm or tcg
	CPU   string // model of its CPUs
	GDB   string // HOST:PORT, where a debugger is waited for at the first instruction
}

// Need is something that not every monitor can do, by the flag that asks for it.
type Need string

// What instances may need.
const (
	NeedType      Need = "--machine"
	NeedAccel     Need = "--accel"
	NeedCPU       Need = "--cpu-model"
	NeedGDB       Need = "--gdb"
	NeedDisks     Need = "--disk"
	NeedVsock     Need = "--vsock"
	NeedTap       Need = "--net tap"
	NeedHugePages Need = "--hugepages"
)

// Folder is a folder of the host that an instance has, too.
type Folder struct {
	Host, Guest string // the latter is absolute
	ReadOnly    bool
}

// Mounts are the folders as boot parameters. Their tags are made up.
func Mounts(folders []Folder) []boot.Mount {
	var mounts []boot.Mount
	for i, f := range folders {
		mounts = append(mounts, boot.Mount{Tag: "fs" + strconv.Itoa(i), Path: f.Guest, ReadOnly: f.ReadOnly})
	}
	return mounts
}

// IsZero says that nothing is asked for.
func (m *Machine) IsZero() bool { return *m == (Machine{}) }

// Port is a published TCP port.
type Port struct {
	Host  netip.AddrPort // an invalid address: all addresses of the host; port 0: any free one
	Guest uint16
}
