package cli

import (
	"errors"
	"fmt"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/monitor"
)

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
