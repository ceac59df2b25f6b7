package inet

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	virtionet "github.com/pith-os/pith/libos/virtio/net"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// openLink returns a link over the instance's network device, or nil when none
// works. Of several devices it takes the first that works.
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

// startVM prepares the network of a virtual machine before the program runs. It
// checks the addresses in the boot parameters, because those written by hand
// are easily wrong. Without addresses, it starts to ask the network in the
// background, so the program need not wait.
func startVM(cfg *boot.Net) {
	if !cfg.Addressed() {
		go network()
		return
	}
	if err := checkAddresses(cfg); err != nil {
		platform.ConsoleWrite(2, []byte("pith: boot parameter "+err.Error()+"\n"))
		platform.Exit(boot.ExitFailure)
	}
}

// checkAddresses returns an error for the first bad address in cfg.
func checkAddresses(cfg *boot.Net) error {
	for _, p := range []struct {
		key, val string
		v6       bool
	}{{"ip4", cfg.Addr4, false}, {"ip6", cfg.Addr6, true}} {
		if prefix, err := netip.ParsePrefix(p.val); p.val != "" && (err != nil || prefix.Addr().Is6() != p.v6 || prefix.Addr().Is4In6()) {
			return errors.New(p.key + ": " + strconv.Quote(p.val) + " is not an address of that version with a prefix length, such as 10.0.2.15/24 or fd00::15/64")
		}
	}
	for _, a := range []struct {
		key, val string
		v6       bool
	}{{"gw4", cfg.Gateway4, false}, {"gw6", cfg.Gateway6, true}} {
		if addr, err := netip.ParseAddr(a.val); a.val != "" && (err != nil || addr.Is6() != a.v6 || addr.Is4In6() || addr.Zone() != "") {
			return errors.New(a.key + ": " + strconv.Quote(a.val) + " is not an address of that version")
		}
	}
	for _, val := range cfg.DNS {
		if _, err := netip.ParseAddr(val); err != nil {
			return errors.New("dns: " + strconv.Quote(val) + " is not an address")
		}
	}
	return nil
}

// openVirtio returns a link over the virtio-net device of t.
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

// linkAddress returns the Ethernet address from the boot parameters, or a
// random one.
func linkAddress(cfg *boot.Net) tcpip.LinkAddress {
	addr, err := tcpip.ParseMACAddress(cfg.MAC)
	if err != nil {
		addr = tcpip.GetRandMacAddr()
	}
	return addr
}
