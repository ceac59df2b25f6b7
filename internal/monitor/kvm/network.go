package kvm

import (
	"fmt"
	"net"
	"os"

	"github.com/pith-os/pith/internal/device"
	virtionet "github.com/pith-os/pith/internal/device/net"
	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/monitor/guest"
)

// vhostNet is the device for network cards whose packets the host's kernel moves.
const vhostNet = "/dev/vhost-net"

// network returns the request for the network card, and a file that only the VMM
// needs. The host's kernel moves the packets of a tap interface if the host has
// vhost-net. Otherwise this process does.
func (r *running) network(l *instance.Launch, fds *files, cpus int) (*netRequest, *os.File, error) {
	req := &netRequest{MAC: l.Boot.Net.MAC, MTU: l.Boot.Net.MTU, Pairs: min(cpus, guest.MaxPairs), Socket: -1}
	if tap, ok := l.Network.Tap(); ok {
		// It is not an error if the host lacks the device or this user may not open it.
		if f, err := os.OpenFile(vhostNet, os.O_RDWR, 0); err == nil {
			req.Pairs, req.Kernel = 1, &kernelRequest{fds.add(f), fds.add(tap)}
			return req, f, nil
		}
	}
	card, err := backend.New(req.Pairs)
	if err != nil {
		return nil, nil, err
	}
	r.link = card
	if r.front, err = vhostuser.Connect(card); err != nil {
		return nil, nil, err
	}
	req.Socket = fds.add(r.front.File())
	return req, r.front.File(), nil
}

// card makes the network card. It runs in the VMM.
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
