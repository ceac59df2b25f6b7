package kvm

import (
	"os"

	"github.com/pith-os/pith/internal/device/block"
	"github.com/pith-os/pith/libos/boot"
)

// request is what the monitor asks of the VMM, on the status socket. Its files
// are descriptors that the VMM starts with; -1 is none.
type request struct {
	KVM     int
	Image   int
	Control int // stream socket for lines (boot.PortControl)

	Line      string // boot parameters
	CPUs      int
	Memory    uint64
	HugePages bool

	Streams   [3]bool // which of the standard streams are there
	OneOutput bool    // standard error goes where standard output goes

	Verbose bool // say at the end what KVM counted

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
	Kernel *kernelRequest // who moves packets in its place, or nil
}

// kernelRequest is the host's kernel: /dev/vhost-net, and the interface.
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

// Descriptors that are at their places in the VMM.
const statusFD = 3

// files are the VMM's descriptors in the making.
type files struct{ list []*os.File }

// add has the VMM have f, and returns its number there.
func (l *files) add(f *os.File) int {
	l.list = append(l.list, f)
	return len(l.list) - 1
}

// bootLine completes the boot parameters: with the devices and the time.
func bootLine(line string, devices []string, doorbell uint64, clock boot.Clock) string {
	b := boot.Config{PID: 1, Doorbell: doorbell, Clock: clock, Devices: devices}
	return line + " " + b.String()
}
