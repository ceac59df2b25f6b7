// Package network has the networks that an instance's network card can be
// plugged into: the user-mode network of the gateway, and a tap interface of the
// host. Callers put them into [instance.Spec]; package instance opens them.
package network

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/policy"
	"github.com/pith-os/pith/internal/tap"
	"github.com/pith-os/pith/libos/boot"
)

// User is the user-mode network: a gateway in this process. It needs no
// privilege.
type User struct {
	Rate uint64 // most bytes a second, each way; 0: no limit
	// Datagrams are the program's published UDP ports. TCP ports are in
	// instance.Spec.
	Datagrams []Datagrams
	// Policy opens and closes addresses.
	Policy policy.Options
}

// Datagrams is a UDP port of the program that clients reach on the host.
type Datagrams struct {
	Host  netip.AddrPort // an invalid IP address: all addresses of the host
	Guest uint16
}

var _ instance.Network = User{}

// Needs implements [instance.Network].
func (User) Needs() []instance.Part { return nil }

// Open implements [instance.Network].
func (u User) Open(l *instance.Launch) (_ *instance.Plug, err error) {
	routes, err := policy.OpenRoutes(l.Namespace)
	if err != nil {
		return nil, err
	}
	rules, err := gateway.NewRules(gateway.Config{Namespace: l.Namespace, Reach: u.Policy, Local: routes.Local, Log: l.Log})
	if err != nil {
		return nil, errors.Join(err, routes.Close())
	}
	lazy := &lazyGateway{rules: rules}
	closeAll := func() error { return errors.Join(lazy.Close(), routes.Close()) }
	if l.Monitor.Describe().VM || len(u.Datagrams) > 0 {
		if _, err := lazy.gateway(); err != nil {
			return nil, errors.Join(err, closeAll())
		}
	}
	for _, p := range u.Datagrams {
		host := fmt.Sprintf(":%d", p.Host.Port())
		if p.Host.Addr().IsValid() {
			host = p.Host.String()
		}
		if _, err := lazy.made.Publish("udp", host, p.Guest); err != nil {
			return nil, errors.Join(err, closeAll())
		}
	}
	plug := &instance.Plug{Network: link.Limit(lazy, u.Rate), Card: rules.Guest(), Close: closeAll}
	if u.Rate == 0 {
		plug.Sockets = &hostinet.Config{Namespace: l.Namespace, Target: target(rules), Log: l.Log}
	} else {
		l.Log("network: --net-rate counts packets, so connections pass the gateway and are not host sockets")
	}
	return plug, nil
}

// target returns what stands behind the addresses that a program in the user-mode network
// names.
func target(r *gateway.Rules) func(netip.AddrPort) (hostinet.Target, error) {
	return func(dst netip.AddrPort) (hostinet.Target, error) {
		if d := r.DNS(dst); d != nil {
			return hostinet.Target{Serve: d.Serve}, nil
		}
		to, err := r.Target(dst)
		return hostinet.Target{Addr: to}, err
	}
}

// TAP is a tap interface of the host. The instance asks for its addresses there,
// and its ports are reached at these addresses.
type TAP struct {
	Interface string
	Rate      uint64 // most bytes a second, each way; 0: no limit
}

var _ instance.Network = TAP{}

// Needs implements [instance.Network].
func (TAP) Needs() []instance.Part { return []instance.Part{instance.TAP} }

// Open implements [instance.Network].
func (t TAP) Open(l *instance.Launch) (*instance.Plug, error) {
	ns := l.Namespace
	i, err := netns.Make(ns, func() (*tap.Interface, error) { return tap.Open(t.Interface) })
	if err != nil {
		return nil, &instance.Error{Part: instance.TAP, Err: err}
	}
	mtu, err := netns.Make(ns, i.MTU)
	if err != nil {
		return nil, errors.Join(err, i.Close())
	}
	card := boot.Net{MAC: address(t.Interface).String(), MTU: mtu}
	return &instance.Plug{Network: link.Limit(i, t.Rate), Card: card, Close: i.Close}, nil
}

// address returns the Ethernet address of an instance at an interface. It is
// always the same, so that the instance keeps its lease, and it is locally
// administered (IEEE 802, 8.4).
func address(name string) net.HardwareAddr {
	sum := sha256.Sum256([]byte(name))
	return append(net.HardwareAddr{0x02}, sum[:5]...)
}
