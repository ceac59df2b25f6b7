package kvm

import (
	"os"

	"github.com/pith-os/pith/internal/device/block"
	"github.com/pith-os/pith/libos/boot"
)

// request is what the monitor asks of the VMM on the status socket. Its files are
// descriptors that the VMM starts with; -1 means none.
type request struct {
	KVM     int
	Image   int
	Control int // stream socket for lines (boot.PortControl)

	Line      string // boot parameters
	CPUs      int
	Memory    uint64
	HugePages bool

	Streams   [3]bool // which of the standard streams the program has
	OneOutput bool    // standard error goes where standard output goes

	Verbose bool // log KVM's counters at the end

	Net     *netRequest // nil: no card
	Folders []folderRequest
	Disks   []diskRequest
	Vsock   *vsockRequest // nil: none
}

// vsockRequest is a device for AF_VSOCK sockets (package vsock's Broker).
type vsockRequest struct{ Listener, Broker int }

// netRequest is a network card.
type netRequest struct {
	MAC   string
	Pairs int
	MTU   int

	Socket int            // stream socket to a vhost-user back end, this process's parent, or -1
	Kernel *kernelRequest // the host's kernel moves the packets instead; nil: it does not
}

// kernelRequest has the descriptors of /dev/vhost-net and of the tap interface.
type kernelRequest struct{ VhostNet, Tap int }

// folderRequest is a folder of the host, served by this process's parent.
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

// files are the descriptors that the VMM will start with.
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
