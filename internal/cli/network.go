package cli

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor"
	"github.com/pith-os/pith/internal/tap"
	"github.com/pith-os/pith/libos/boot"
)

// newNetwork gives c the network that was asked for, if one was. The caller
// closes it.
func (inst *instance) newNetwork(c *monitor.Config) (network io.Closer, err error) {
	d := inst.devices
	switch {
	case d.tap != "":
		network, err = newTap(c, d.tap)
	case d.net:
		network, err = newUserNetwork(c, inst.ports)
	default:
		return io.NopCloser(nil), nil
	}
	if err == nil {
		c.Network = link.Limit(c.Network, d.netRate)
	}
	return network, err
}

// newUserNetwork gives c a network, a gateway in this process, with the given
// published ports. TCP ports are the monitor's to publish.
func newUserNetwork(c *monitor.Config, ports []portMapping) (*gateway.Gateway, error) {
	g, err := gateway.New(gateway.Config{})
	if err != nil {
		return nil, err
	}
	for _, p := range ports {
		if !p.udp {
			c.Publish = append(c.Publish, monitor.Port{Host: p.host, Guest: p.guest})
			continue
		}
		host := fmt.Sprintf(":%d", p.host.Port())
		if p.host.Addr().IsValid() {
			host = p.host.String()
		}
		if _, err := g.Publish("udp", host, p.guest); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	guest := g.Guest()
	c.Boot.Net, c.Network = &guest, g
	return g, nil
}

// newTap gives c an interface of the host's, where the instance asks for its
// addresses.
func newTap(c *monitor.Config, name string) (*tap.Interface, error) {
	t, err := tap.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--net tap: %w", err)
	}
	mtu, err := t.MTU()
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	c.Boot.Net, c.Network = &boot.Net{MAC: tapAddress(name).String(), MTU: mtu}, t
	return t, nil
}

// tapAddress is the Ethernet address of an instance at an interface, always the
// same, so that it keeps its lease: one that is locally administered
// (IEEE 802, 8.4).
func tapAddress(name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(name))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}
