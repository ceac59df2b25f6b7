package inet

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/libos/inet/dhcp"
	"github.com/pith-os/pith/libos/platform"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// patience is how long a program waits for an address before it is told
	// that there is no network. The search goes on behind it.
	patience = 10 * time.Second
	// patience6 is how long it waits for an IPv6 address when there is an
	// IPv4 address: a router answers within half a second (RFC 4861 §6.2.6).
	patience6 = time.Second
	// maxServers is how many name servers resolv.conf(5) may have.
	maxServers = 3
)

// autoconf configures the network device of a virtual machine whose boot
// parameters have no addresses: IPv4 by DHCP, IPv6 by router advertisements
// (RFC 4861, RFC 4862, RFC 8106).
type autoconf struct {
	stack   *stack.Stack
	link    *link
	base    []tcpip.Route // what is there without a network
	mtu     uint32        // the device's
	begin   time.Time
	limit   time.Duration // how long programs wait
	changed chan struct{} // update has something to do

	mu      sync.Mutex
	lease   *dhcp.Lease
	prefix6 []tcpip.Subnet // reached directly
	router6 []router6
	server6 []server6

	// What programs wait for: an address of the family, of either, and name
	// servers.
	ready4, ready6, ready, named gate
}

// router6 is a way that a router offers.
type router6 struct {
	to         tcpip.Subnet
	router     tcpip.Address
	preference header.NDPRoutePreference
}

// server6 is a name server that a router told of.
type server6 struct {
	addr  tcpip.Address
	until time.Time // zero: for ever
}

// dynamic is set once the network device is configured by the network.
var dynamic atomic.Pointer[autoconf]

// configureByNetwork makes a stack with the device l that asks the network for
// its addresses.
func configureByNetwork(l *link) *stack.Stack {
	a := newAutoconf(l, patience)
	dynamic.Store(a)
	return a.stack
}

// newAutoconf begins to configure l; programs wait for it no longer than limit.
func newAutoconf(l *link, limit time.Duration) *autoconf {
	a := &autoconf{link: l, mtu: l.MTU(), begin: time.Now(), limit: limit, changed: make(chan struct{}, 1)}
	for _, g := range a.gates() {
		g.open = make(chan struct{})
	}
	ndp := ipv6.DefaultNDPConfigurations()
	ndp.MaxRtrSolicitationDelay = 0 // that is for many machines that start at once
	ndp.AutoGenTempGlobalAddresses = false
	s, routes := newStack(ipv6.Options{NDPDisp: a, NDPConfigs: ndp})
	conn := newDHCPConn(s, l)
	a.stack = s
	a.base = append(routes, addLink(s, l)...)
	s.SetRouteTable(slices.Clone(a.base))
	go a.run()
	go func() {
		c := dhcp.Client{Conn: conn, MAC: [6]byte([]byte(l.addr)), Hostname: platform.Config().Hostname, Apply: a.apply}
		c.Run() // until the device ends, which link tells
	}()
	return a
}

// run brings the stack up to date with what is known.
func (a *autoconf) run() {
	for _, d := range []time.Duration{a.limit, patience6} {
		defer time.AfterFunc(d, a.change).Stop()
	}
	for {
		select {
		case <-a.changed:
			a.update()
		case <-a.link.done:
			for _, g := range a.gates() {
				g.when(true) // there will be nothing
			}
			return
		}
	}
}

func (a *autoconf) gates() []*gate { return []*gate{&a.ready4, &a.ready6, &a.ready, &a.named} }

// change has run update, soon.
func (a *autoconf) change() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// update sets the routes, and opens the gates for what is there.
func (a *autoconf) update() {
	routes := slices.Clone(a.base)
	a.mu.Lock()
	has4 := a.lease != nil
	if has4 {
		routes = append(routes, leaseRoutes(a.lease)...)
	}
	for _, p := range a.prefix6 {
		routes = append(routes, tcpip.Route{Destination: p, NIC: etherNIC})
	}
	for _, r := range a.router6 {
		routes = append(routes, tcpip.Route{Destination: r.to, Gateway: r.router, NIC: etherNIC})
	}
	a.mu.Unlock()
	a.stack.SetRouteTable(routes)

	waited := time.Since(a.begin)
	tired := waited >= a.limit
	has6 := a.hasGlobal6()
	done4, done6 := has4 || tired, has6 || tired || has4 && waited >= patience6
	a.ready4.when(done4)
	a.ready6.when(done6)
	a.ready.when(has4 || done6)
	a.named.when(len(a.servers()) > 0 || done4 && done6)
}

// hasGlobal6 says whether the device has an IPv6 address beyond its link-local
// one.
func (a *autoconf) hasGlobal6() bool {
	return slices.ContainsFunc(a.stack.NICInfo()[etherNIC].ProtocolAddresses, func(p tcpip.ProtocolAddress) bool {
		return p.Protocol == header.IPv6ProtocolNumber && !header.IsV6LinkLocalUnicastAddress(p.AddressWithPrefix.Address)
	})
}

// leaseRoutes are those of a lease: its network and the server's routes.
func leaseRoutes(l *dhcp.Lease) []tcpip.Route {
	routes := []tcpip.Route{{Destination: addressWithPrefix(l.Addr).Subnet(), NIC: etherNIC}}
	for _, r := range l.Routes {
		route := tcpip.Route{Destination: addressWithPrefix(r.To).Subnet(), NIC: etherNIC}
		if !r.Gateway.IsUnspecified() {
			route.Gateway = tcpip.AddrFromSlice(r.Gateway.AsSlice())
		}
		routes = append(routes, route)
	}
	return routes
}

// apply is told of leases by the DHCP client.
func (a *autoconf) apply(l *dhcp.Lease) {
	a.mu.Lock()
	old := a.lease
	a.lease = l
	a.mu.Unlock()
	mtu := a.mtu
	if l != nil && l.MTU != 0 {
		mtu = min(mtu, uint32(l.MTU))
	}
	a.link.SetMTU(mtu)
	same := old != nil && l != nil && old.Addr == l.Addr
	if old != nil && !same {
		// Fails when the device is gone, and all its addresses with it.
		_ = a.stack.RemoveAddress(etherNIC, tcpip.AddrFromSlice(old.Addr.Addr().AsSlice()))
	}
	if l != nil && !same {
		addAddress(a.stack, etherNIC, l.Addr)
	}
	a.change()
}

// servers are the name servers that are known.
func (a *autoconf) servers() (all []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lease != nil {
		all = append(all, a.lease.DNS...)
	}
	now := time.Now()
	for _, s := range a.server6 {
		if s.until.IsZero() || now.Before(s.until) {
			addr := netip.AddrFrom16(s.addr.As16())
			if addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(etherName)
			}
			all = append(all, addr)
		}
	}
	return all[:min(len(all), maxServers)]
}

// resolverTable is /proc/net/pnp, to which /etc/resolv.conf is a link where the
// network tells of name servers, as Linux has it for machines that boot from a
// network (Documentation/admin-guide/nfs/nfsroot.rst). Reading it waits for the
// network to tell.
func resolverTable() []byte {
	if !platform.VM() {
		return nil
	}
	network()
	a := dynamic.Load()
	if a == nil {
		return nil
	}
	a.named.wait()
	return a.resolver()
}

func (a *autoconf) resolver() []byte {
	b := []byte("#PROTO: DHCP\n")
	a.mu.Lock()
	if a.lease != nil && a.lease.Domain != "" {
		b = append(b, "domain "+a.lease.Domain+"\n"...)
	}
	a.mu.Unlock()
	for _, s := range a.servers() {
		b = append(b, "nameserver "+s.String()+"\n"...)
	}
	return b
}

// awaitAddress parks until the instance has an address with which it reaches
// addr, or knows that it gets none.
func awaitAddress(addr tcpip.Address) {
	a := dynamic.Load()
	if a == nil || addr.Len() == 0 {
		return
	}
	addr = unmapped(addr)
	switch ip, _ := netip.AddrFromSlice(addr.AsSlice()); {
	case ip.IsLoopback(), ip.IsUnspecified():
	case ip.Is4():
		a.ready4.wait()
	case !ip.IsLinkLocalUnicast():
		a.ready6.wait()
	}
}

// awaitAnyAddress parks until the instance has an address, or knows that it gets
// none.
func awaitAnyAddress() {
	if a := dynamic.Load(); a != nil {
		a.ready.wait()
	}
}

// gate is closed at first and open for good some time.
type gate struct {
	open chan struct{}
	once sync.Once
}

func (g *gate) wait() { <-g.open }

// when opens the gate if it is time.
func (g *gate) when(now bool) {
	if now {
		g.once.Do(func() { close(g.open) })
	}
}

// What follows implements ipv6.NDPDispatcher. It is called under locks of the
// stack, which update must not be.

// OnOffLinkRouteUpdated implements ipv6.NDPDispatcher.
func (a *autoconf) OnOffLinkRouteUpdated(nic tcpip.NICID, to tcpip.Subnet, router tcpip.Address, p header.NDPRoutePreference) {
	a.mu.Lock()
	a.dropRouter(to, router)
	a.router6 = append(a.router6, router6{to, router, p})
	slices.SortStableFunc(a.router6, func(x, y router6) int { return cmp.Compare(x.rank(), y.rank()) })
	a.mu.Unlock()
	a.change()
}

// rank is smaller for what is preferred (RFC 4191 §2.1).
func (r router6) rank() int {
	switch r.preference {
	case header.HighRoutePreference:
		return 0
	case header.LowRoutePreference:
		return 2
	}
	return 1
}

// dropRouter forgets a way, with a.mu held.
func (a *autoconf) dropRouter(to tcpip.Subnet, router tcpip.Address) {
	a.router6 = slices.DeleteFunc(a.router6, func(r router6) bool { return r.to == to && r.router == router })
}

// OnOffLinkRouteInvalidated implements ipv6.NDPDispatcher.
func (a *autoconf) OnOffLinkRouteInvalidated(_ tcpip.NICID, to tcpip.Subnet, router tcpip.Address) {
	a.mu.Lock()
	a.dropRouter(to, router)
	a.mu.Unlock()
	a.change()
}

// OnOnLinkPrefixDiscovered implements ipv6.NDPDispatcher.
func (a *autoconf) OnOnLinkPrefixDiscovered(_ tcpip.NICID, prefix tcpip.Subnet) {
	a.mu.Lock()
	a.prefix6 = append(a.prefix6, prefix)
	a.mu.Unlock()
	a.change()
}

// OnOnLinkPrefixInvalidated implements ipv6.NDPDispatcher.
func (a *autoconf) OnOnLinkPrefixInvalidated(_ tcpip.NICID, prefix tcpip.Subnet) {
	a.mu.Lock()
	a.prefix6 = slices.DeleteFunc(a.prefix6, func(p tcpip.Subnet) bool { return p == prefix })
	a.mu.Unlock()
	a.change()
}

// OnAutoGenAddress implements ipv6.NDPDispatcher.
func (a *autoconf) OnAutoGenAddress(tcpip.NICID, tcpip.AddressWithPrefix) stack.AddressDispatcher {
	a.change()
	return nil
}

// OnRecursiveDNSServerOption implements ipv6.NDPDispatcher.
func (a *autoconf) OnRecursiveDNSServerOption(_ tcpip.NICID, addrs []tcpip.Address, lifetime time.Duration) {
	a.mu.Lock()
	for _, addr := range addrs {
		a.server6 = slices.DeleteFunc(a.server6, func(s server6) bool { return s.addr == addr })
		switch {
		case lifetime >= header.NDPInfiniteLifetime:
			a.server6 = append(a.server6, server6{addr: addr})
		case lifetime > 0:
			a.server6 = append(a.server6, server6{addr, time.Now().Add(lifetime)})
		}
	}
	a.server6 = a.server6[:min(len(a.server6), maxServers)]
	a.mu.Unlock()
	a.change()
}

// OnDuplicateAddressDetectionResult implements ipv6.NDPDispatcher; there is
// none.
func (a *autoconf) OnDuplicateAddressDetectionResult(tcpip.NICID, tcpip.Address, stack.DADResult) {}

// OnAutoGenAddressDeprecated implements ipv6.NDPDispatcher; the stack sees to
// it.
func (a *autoconf) OnAutoGenAddressDeprecated(tcpip.NICID, tcpip.AddressWithPrefix) {}

// OnAutoGenAddressInvalidated implements ipv6.NDPDispatcher; the stack removes
// the address.
func (a *autoconf) OnAutoGenAddressInvalidated(tcpip.NICID, tcpip.AddressWithPrefix) {}

// OnDNSSearchListOption implements ipv6.NDPDispatcher; DHCP's domain is the one
// that is used.
func (a *autoconf) OnDNSSearchListOption(tcpip.NICID, []string, time.Duration) {}

// OnDHCPv6Configuration implements ipv6.NDPDispatcher; there is no DHCPv6.
func (a *autoconf) OnDHCPv6Configuration(tcpip.NICID, ipv6.DHCPv6ConfigurationFromNDPRA) {}
