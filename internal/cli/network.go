package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/monitor"
)

// userNetwork is --net user: a gateway in this process.
type userNetwork struct{ gateway *gateway.Gateway }

// newUserNetwork gives c a network with the given published ports. TCP ports
// are the monitor's to publish: their connections do not pass the gateway.
func newUserNetwork(c *monitor.Config, ports []portMapping) (*userNetwork, error) {
	g, err := gateway.New(gateway.Config{})
	if err != nil {
		return nil, err
	}
	n := &userNetwork{g}
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
	c.Boot.Net, c.Network = &guest, n
	return n, nil
}

// Serve implements monitor.Network.
func (n *userNetwork) Serve(ctx context.Context, link *os.File) error {
	// NewSocketLink takes a descriptor over: it gets one of its own.
	fd, err := unix.FcntlInt(link.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err := errors.Join(err, link.Close()); err != nil {
		return err
	}
	l, err := gateway.NewSocketLink(fd)
	if err != nil {
		return err
	}
	return n.gateway.Serve(ctx, l)
}
