package kvm

import (
	"os"

	"github.com/pith-os/pith/internal/device/block"
	"github.com/pith-os/pith/libos/boot"
)

// request is the monitor's message to the VMM on the status socket. It names files by the
// descriptors that the VMM starts with. -1 means no file.
type request struct {
	KVM     int
	Image   int
	Control int // stream socket for lines (boot.PortControl)

	Line      string // boot parameters
	CPUs      int
	Memory    uint64
	HugePages bool

	Streams   [3]bool // the standard streams that the program has
	OneOutput bool    // standard error and standard output are the same file

	Verbose bool // log KVM's counters at the end

	Net     *netRequest // nil: no card
	Folders []folderRequest
	Disks   []diskRequest
	Vsock   *vsockRequest // nil: no device
}

// vsockRequest is a device for AF_VSOCK sockets (package vsock's Broker).
type vsockRequest struct{ Listener, Broker int }

// netRequest is a network card.
type netRequest struct {
	MAC   string
	Pairs int
	MTU   int

	Socket int            // stream socket to the vhost-user back end in the parent, or -1
	Kernel *kernelRequest // set if the host's kernel moves the packets; nil: the parent does
}

// kernelRequest has the descriptors of /dev/vhost-net and of the tap interface.
type kernelRequest struct{ VhostNet, Tap int }

// folderRequest is a folder of the host. The VMM's parent serves it.
type folderRequest struct {
	Tag    string
	Socket int // SOCK_SEQPACKET, one message of 9P2000.L each
}

// diskRequest is a disk.
type diskRequest struct {
	File   int
	Info   block.Info
	Queues int
	Rate   int64 // bytes a second; 0: no limit
	IOPS   int64 // requests a second; 0: no limit
}

// statusFD is the status socket in the VMM. It follows the standard streams.
const statusFD = 3

// files is the list of descriptors that the VMM starts with.
type files struct{ list []*os.File }

// add adds f and returns its number in the VMM.
func (l *files) add(f *os.File) int {
	l.list = append(l.list, f)
	return len(l.list) - 1
}

// bootLine completes the boot parameters with the devices and the time.
func bootLine(line string, devices []string, doorbell uint64, clock boot.Clock) string {
	b := boot.Config{PID: 1, Doorbell: doorbell, Clock: clock, Devices: devices}
	return line + " " + b.String()
}
