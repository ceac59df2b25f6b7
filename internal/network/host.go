package network

import (
	"net/netip"

	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/internal/policy"

	"golang.org/x/sys/unix"
)

// Host is the network of a namespace: the program binds, listens and dials there, as any
// process of that namespace does. There is no network card. The namespace is
// instance.Spec.Namespace, or the caller's own.
type Host struct {
	// Rules close addresses, and open parts of what they close. Without rules
	// everything is open.
	Rules []policy.Rule
}

var _ instance.Network = Host{}

// Needs implements [instance.Network].
func (Host) Needs() []instance.Part { return []instance.Part{instance.HostNetwork} }

// Open implements [instance.Network].
func (h Host) Open(l *instance.Launch) (*instance.Plug, error) {
	c := &hostinet.Config{Namespace: l.Namespace, Whole: true, Log: l.Log}
	if len(h.Rules) > 0 {
		c.Target = permitted(policy.New(h.Rules, nil), l.Log)
	}
	if shared, err := netns.Initial(l.Namespace); err != nil {
		return nil, err
	} else if shared {
		l.Log("network: the program has the network of this host: it reaches and may take every port here, also those on the loopback interface")
	}
	return &instance.Plug{Sockets: c}, nil
}

// permitted returns a function that refuses what a policy closes.
func permitted(p *policy.Policy, log func(string, ...any)) func(netip.AddrPort) (hostinet.Target, error) {
	return func(dst netip.AddrPort) (hostinet.Target, error) {
		named := dst.Addr().Unmap()
		switch named { // the kernel takes these for the loopback address
		case netip.IPv4Unspecified():
			named = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		case netip.IPv6Unspecified():
			named = netip.IPv6Loopback()
		}
		rule, err := p.Check(named, dst.Port())
		if err != nil {
			return hostinet.Target{}, err
		}
		if rule != nil {
			log("%s refused by %s: %s", dst, rule, rule.Name)
			return hostinet.Target{}, unix.ECONNREFUSED
		}
		return hostinet.Target{Addr: dst}, nil
	}
}
