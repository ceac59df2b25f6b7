package kvm

import (
	"fmt"
	"net"
	"os"

	"github.com/pith-os/pith/internal/device"
	virtionet "github.com/pith-os/pith/internal/device/net"
	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/monitor"
)

// maxPairs is how many pairs of queues the network device has at most: one
// gateway serves them all.
const maxPairs = 4

// vhostNet is the host's kernel as the mover of a card's packets.
const vhostNet = "/dev/vhost-net"

// network asks for the network card, with a file that is the VMM's. Where the
// host has vhost-net its kernel moves the packets of an interface of the host's,
// else this process does.
func (i *instance) network(c *monitor.Config, fds *files, cpus int) (*netRequest, *os.File, error) {
	req := &netRequest{MAC: c.Boot.Net.MAC, MTU: c.Boot.Net.MTU, Pairs: min(cpus, maxPairs), Socket: -1}
	if tap, ok := c.Network.Tap(); ok {
		// An error: the host has none, or not for this user.
		if f, err := os.OpenFile(vhostNet, os.O_RDWR, 0); err == nil {
			req.Pairs, req.Kernel = 1, &kernelRequest{fds.add(f), fds.add(tap)}
			return req, f, nil
		}
	}
	card, err := backend.New(req.Pairs)
	if err != nil {
		return nil, nil, err
	}
	i.link = card
	if i.front, err = vhostuser.Connect(card); err != nil {
		return nil, nil, err
	}
	req.Socket = fds.add(i.front.File())
	return req, i.front.File(), nil
}

// card is the network card, in the VMM.
func (v *vmm) card(r *netRequest) (device.Device, error) {
	mac, err := net.ParseMAC(r.MAC)
	if err != nil {
		return nil, err
	}
	card := virtionet.Config{MAC: mac, Pairs: r.Pairs, MTU: r.MTU}
	if k := r.Kernel; k != nil {
		v.fds.VhostNet, v.fds.Tap = k.VhostNet, k.Tap
		return virtionet.NewKernel(os.NewFile(uintptr(k.VhostNet), vhostNet), os.NewFile(uintptr(k.Tap), "tap"), v.memory.queue, card)
	}
	var shared []vhostuser.Region
	for _, s := range v.memory.ram {
		shared = append(shared, vhostuser.Region{Addr: s.addr, Size: uint64(len(s.mem)), File: v.memory.file, Offset: offset(s.addr)})
	}
	d, err := virtionet.NewUser(os.NewFile(uintptr(r.Socket), "network"), v.memory.queue, shared, card)
	if err != nil {
		return nil, fmt.Errorf("network card: %w", err)
	}
	v.fds.Sockets = append(v.fds.Sockets, d.Descriptor())
	return d, nil
}
