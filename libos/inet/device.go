package inet

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	virtionet "github.com/pith-os/pith/libos/virtio/net"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// openLink is the link over the instance's network device; nil: it has none
// that works. Of several devices it is the first.
func openLink() *link {
	cfg := platform.Config().Net
	if cfg == nil {
		cfg = new(boot.Net)
		if !platform.VM() {
			return nil
		}
	}
	if !platform.VM() {
		host, errno := platform.OpenHost(boot.FDPackets)
		if errno != 0 {
			return nil
		}
		return newLink(&gatewaySocket{host: host}, linkAddress(cfg), uint32(cfg.MTU), true)
	}
	for _, t := range virtio.Find(virtio.IDNet) {
		if l, errno := openVirtio(t, cfg); errno == 0 {
			return l
		}
	}
	return nil
}

// openVirtio is a link over the virtio-net device of t.
func openVirtio(t virtio.Transport, cfg *boot.Net) (*link, linux.Errno) {
	dev, errno := virtionet.Open(t)
	if errno != 0 {
		return nil, errno
	}
	addr := linkAddress(cfg)
	if mac, ok := dev.MAC(); ok {
		addr = tcpip.LinkAddress(mac[:])
	}
	mtu := dev.MTU()
	if header.IPv4MinimumMTU <= cfg.MTU && cfg.MTU < mtu {
		mtu = cfg.MTU
	}
	return newLink(dev, addr, uint32(mtu), dev.Segments()), 0
}

// linkAddress is the Ethernet address that the boot parameters give, or a
// random one.
func linkAddress(cfg *boot.Net) tcpip.LinkAddress {
	addr, err := tcpip.ParseMACAddress(cfg.MAC)
	if err != nil {
		addr = tcpip.GetRandMacAddr()
	}
	return addr
}
