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
	// addressTimeout is how long a program waits for an address before it gets an
	// error. The search continues in the background.
	addressTimeout = 10 * time.Second
	// address6Timeout is how long a program waits for an IPv6 address when there
	// is an IPv4 address. A router answers within half a second (RFC 4861 §6.2.6).
	address6Timeout = time.Second
	// maxServers is the number of name servers that resolv.conf(5) allows.
	maxServers = 3
)

// autoconf configures the network device of a virtual machine whose boot
// parameters have no addresses: IPv4 by DHCP, IPv6 by router advertisements
// (RFC 4861, RFC 4862, RFC 8106).
type autoconf struct {
	stack   *stack.Stack
	link    *link
	base    []tcpip.Route // routes without a network
	mtu     uint32        // MTU of the device in bytes
	begin   time.Time
	limit   time.Duration // longest wait of a program
	changed chan struct{} // signals run to call update

	mu      sync.Mutex
	lease   *dhcp.Lease
	prefix6 []tcpip.Subnet // on-link prefixes
	router6 []router6
	server6 []server6

	// What programs wait for: an IPv4 address, an IPv6 address, an address of
	// either family, and name servers.
	ready4, ready6, ready, named gate
}

// router6 is a route that a router advertises.
type router6 struct {
	to         tcpip.Subnet
	router     tcpip.Address
	preference header.NDPRoutePreference
}

// server6 is a name server that a router advertises.
type server6 struct {
	addr  tcpip.Address
	until time.Time // zero: forever
}

// dynamic is set when the network device gets its configuration from the
// network.
var dynamic atomic.Pointer[autoconf]

// configureByNetwork makes a stack that gets the addresses of device l from the
// network.
func configureByNetwork(l *link) *stack.Stack {
	a := newAutoconf(l, addressTimeout)
	dynamic.Store(a)
	return a.stack
}

// newAutoconf starts to configure l. Programs wait for an address no longer
// than limit.
func newAutoconf(l *link, limit time.Duration) *autoconf {
	a := &autoconf{link: l, mtu: l.MTU(), begin: time.Now(), limit: limit, changed: make(chan struct{}, 1)}
	for _, g := range a.gates() {
		g.open = make(chan struct{})
	}
	ndp := ipv6.DefaultNDPConfigurations()
	ndp.MaxRtrSolicitationDelay = 0 // the random delay spreads out many hosts that start at once
	ndp.AutoGenTempGlobalAddresses = false
	s, routes := newStack(ipv6.Options{NDPDisp: a, NDPConfigs: ndp})
	conn := newDHCPConn(s, l)
	a.stack = s
	a.base = append(routes, addLink(s, l)...)
	s.SetRouteTable(slices.Clone(a.base))
	go a.run()
	go func() {
		c := dhcp.Client{Conn: conn, MAC: [6]byte([]byte(l.addr)), Hostname: platform.Config().Hostname, Apply: a.apply}
		c.Run() // until the device ends; link.done reports that
	}()
	return a
}

// run updates the stack when something changes.
func (a *autoconf) run() {
	for _, d := range []time.Duration{a.limit, address6Timeout} {
		defer time.AfterFunc(d, a.change).Stop()
	}
	for {
		select {
		case <-a.changed:
			a.update()
		case <-a.link.done:
			for _, g := range a.gates() {
				g.openIf(true) // nothing will come any more
			}
			return
		}
	}
}

func (a *autoconf) gates() []*gate { return []*gate{&a.ready4, &a.ready6, &a.ready, &a.named} }

// change makes run call update soon.
func (a *autoconf) change() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// update sets the routes, and opens the gates of what is available or has timed
// out.
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
	timedOut := waited >= a.limit
	has6 := a.hasGlobal6()
	done4, done6 := has4 || timedOut, has6 || timedOut || has4 && waited >= address6Timeout
	a.ready4.openIf(done4)
	a.ready6.openIf(done6)
	a.ready.openIf(has4 || done6)
	a.named.openIf(len(a.servers()) > 0 || done4 && done6)
}

// hasGlobal6 reports whether the device has an IPv6 address other than its
// link-local one.
func (a *autoconf) hasGlobal6() bool {
	return slices.ContainsFunc(a.stack.NICInfo()[etherNIC].ProtocolAddresses, func(p tcpip.ProtocolAddress) bool {
		return p.Protocol == header.IPv6ProtocolNumber && !header.IsV6LinkLocalUnicastAddress(p.AddressWithPrefix.Address)
	})
}

// leaseRoutes returns the routes of a lease: its subnet and the routes from the
// server.
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

// apply takes a new lease from the DHCP client; nil means that the lease has
// ended.
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
		// RemoveAddress fails when the device has ended, and then all its addresses
		// are gone.
		_ = a.stack.RemoveAddress(etherNIC, tcpip.AddrFromSlice(old.Addr.Addr().AsSlice()))
	}
	if l != nil && !same {
		addAddress(a.stack, etherNIC, l.Addr)
	}
	a.change()
}

// servers returns the known name servers.
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

// resolverTable returns /proc/net/pnp. /etc/resolv.conf is a link to it when
// the network provides the name servers, as on Linux hosts that boot from a
// network (Documentation/admin-guide/nfs/nfsroot.rst). Reading it waits for the
// name servers.
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

// awaitAddress parks until the instance has an address from which it can reach
// addr, or until it knows that it will get none.
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

// awaitAnyAddress parks until the instance has an address, or until it knows
// that it will get none.
func awaitAnyAddress() {
	if a := dynamic.Load(); a != nil {
		a.ready.wait()
	}
}

// gate starts closed. Once open, it stays open.
type gate struct {
	open chan struct{}
	once sync.Once
}

func (g *gate) wait() { <-g.open }

// openIf opens the gate if ok.
func (g *gate) openIf(ok bool) {
	if ok {
		g.once.Do(func() { close(g.open) })
	}
}

// The methods below implement ipv6.NDPDispatcher. The stack calls them with
// locks held, so they must not call update.

// OnOffLinkRouteUpdated implements ipv6.NDPDispatcher.
func (a *autoconf) OnOffLinkRouteUpdated(nic tcpip.NICID, to tcpip.Subnet, router tcpip.Address, p header.NDPRoutePreference) {
	a.mu.Lock()
	a.dropRouter(to, router)
	a.router6 = append(a.router6, router6{to, router, p})
	slices.SortStableFunc(a.router6, func(x, y router6) int { return cmp.Compare(x.rank(), y.rank()) })
	a.mu.Unlock()
	a.change()
}

// rank is smaller for a more preferred route (RFC 4191 §2.1).
func (r router6) rank() int {
	switch r.preference {
	case header.HighRoutePreference:
		return 0
	case header.LowRoutePreference:
		return 2
	}
	return 1
}

// dropRouter removes a route, with a.mu held.
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

// OnDuplicateAddressDetectionResult implements ipv6.NDPDispatcher. Duplicate
// address detection is off.
func (a *autoconf) OnDuplicateAddressDetectionResult(tcpip.NICID, tcpip.Address, stack.DADResult) {}

// OnAutoGenAddressDeprecated implements ipv6.NDPDispatcher. The stack handles
// it.
func (a *autoconf) OnAutoGenAddressDeprecated(tcpip.NICID, tcpip.AddressWithPrefix) {}

// OnAutoGenAddressInvalidated implements ipv6.NDPDispatcher. The stack removes
// the address.
func (a *autoconf) OnAutoGenAddressInvalidated(tcpip.NICID, tcpip.AddressWithPrefix) {}

// OnDNSSearchListOption implements ipv6.NDPDispatcher. Only DHCP's domain is
// used.
func (a *autoconf) OnDNSSearchListOption(tcpip.NICID, []string, time.Duration) {}

// OnDHCPv6Configuration implements ipv6.NDPDispatcher. DHCPv6 is not supported.
func (a *autoconf) OnDHCPv6Configuration(tcpip.NICID, ipv6.DHCPv6ConfigurationFromNDPRA) {}
