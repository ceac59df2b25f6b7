package dhcp

import (
	"errors"
	"net/netip"
	"time"
)

// Lease is a lease from a server.
type Lease struct {
	Addr   netip.Prefix // with the prefix length of the subnet
	Server netip.Addr
	Routes []Route
	DNS    []netip.Addr
	Domain string // appended to unqualified names
	MTU    int    // in bytes; 0: not given

	// Renew is when to renew the lease with its server, Rebind when to renew it
	// with any server, and Expire when it ends. All are counted from the request.
	// Expire is 0 for an endless lease.
	Renew, Rebind, Expire time.Duration
}

// Route is a route to a subnet.
type Route struct {
	To      netip.Prefix
	Gateway netip.Addr // 0.0.0.0: on-link
}

const (
	// minLease is the shortest accepted lease. The client would do little more
	// than renew a shorter one.
	minLease = 10 * time.Second
	forever  = ^uint32(0)

	maxServers = 3 // as many as resolv.conf(5) allows
	maxRoutes  = 64
	minMTU     = 576 // in bytes; RFC 2132 §5.1 allows 68, which no network means
)

// lease reads an offer or an acknowledgement.
func (o options) lease(addr netip.Addr) (*Lease, error) {
	l := &Lease{}
	if servers := o.addrs(optServer); len(servers) == 1 {
		l.Server = servers[0]
	}
	switch {
	case !l.Server.IsValid() || !host(l.Server):
		return nil, errors.New("the message names no server")
	case !host(addr):
		return nil, errors.New("the offered address is not a host address")
	}
	bits, err := o.prefixLen(addr)
	if err != nil {
		return nil, err
	}
	l.Addr = netip.PrefixFrom(addr, bits)
	if err := o.times(l); err != nil {
		return nil, err
	}
	// RFC 3442: classless routes replace the router option.
	if l.Routes = o.routes(); l.Routes == nil {
		for _, r := range o.addrs(optRouter) {
			l.Routes = append(l.Routes, Route{netip.PrefixFrom(netip.IPv4Unspecified(), 0), r})
			break // the first is preferred (RFC 2132 §3.5)
		}
	}
	l.Routes = l.Routes[:min(len(l.Routes), maxRoutes)]
	l.DNS = o.addrs(optDNS)
	l.DNS = l.DNS[:min(len(l.DNS), maxServers)]
	l.Domain = domain(o[optDomain])
	if mtu, ok := o.number(optMTU); ok && mtu >= minMTU && mtu <= 65535 {
		l.MTU = int(mtu)
	}
	return l, nil
}

// host reports whether a can be the address of a host.
func host(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.As4()[0] < 240
}

// prefixLen returns the prefix length of addr's subnet. Without a mask from the
// server it is that of the address class.
func (o options) prefixLen(addr netip.Addr) (int, error) {
	mask, ok := o.number(optMask)
	if !ok {
		switch first := addr.As4()[0]; {
		case first < 128:
			return 8, nil
		case first < 192:
			return 16, nil
		}
		return 24, nil
	}
	bits := 0
	for ; mask&(1<<31) != 0; mask <<= 1 {
		bits++
	}
	if mask != 0 || bits == 0 {
		return 0, errors.New("the subnet mask is not contiguous")
	}
	return bits, nil
}

// times reads the duration of the lease. The default times to renew and rebind
// are half and seven eighths of it (RFC 2131 §4.4.5).
func (o options) times(l *Lease) error {
	secs, ok := o.number(optLeaseTime)
	if !ok || len(o[optLeaseTime]) != 4 {
		return errors.New("the message has no lease time")
	}
	if secs == forever {
		return nil
	}
	l.Expire = time.Duration(secs) * time.Second
	if l.Expire < minLease {
		return errors.New("the lease is too short")
	}
	l.Renew, l.Rebind = l.Expire/2, l.Expire/8*7
	renew, ok1 := o.number(optRenewTime)
	rebind, ok2 := o.number(optRebindTime)
	t1, t2 := time.Duration(renew)*time.Second, time.Duration(rebind)*time.Second
	if ok1 && ok2 && minLease/2 <= t1 && t1 < t2 && t2 < l.Expire {
		l.Renew, l.Rebind = t1, t2
	}
	return nil
}

// domain returns b as a domain name that is safe in resolv.conf, or "" if it is
// not safe.
func domain(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	for _, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !('0' <= c && c <= '9') && c != '-' && c != '.' && c != '_' {
			return ""
		}
	}
	return string(b)
}
