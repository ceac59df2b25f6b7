package inet

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Published ports. The monitor has bound a socket of the host for each. When
// the program listens on a published port, the monitor makes the socket listen,
// too. In a confined process, the program accepts the host's connections, and
// uses them directly: no byte passes the network stack. A connection waits in
// the host's queue until the program accepts it. Connections from elsewhere,
// especially from the loopback interface, reach the same listener through the
// stack.

// port is a published port.
type port struct {
	number uint16
	fd     int
	host   *platform.Host // nil in a virtual machine, where connections arrive by the network

	mu       sync.Mutex
	backlogs map[*stream]int // of the sockets that listen; several with SO_REUSEPORT
	followed bool

	// ready is set if a connection may wait: the host reports edges only.
	ready atomic.Bool
}

// ports are the published ports, in the order of their descriptors.
var ports = sync.OnceValue(func() []*port {
	var all []*port
	for i, number := range platform.Config().Publish {
		p := &port{number: number, fd: boot.FDListen + i, backlogs: make(map[*stream]int)}
		if monitor() != nil {
			p.host, _ = platform.OpenHost(p.fd)
		}
		all = append(all, p)
	}
	return all
})

// publish lets s accept connections to its port, if that is published and s
// does not listen on loopback only. It may be called again, with another
// backlog.
func (s *stream) publish(backlog int) linux.Errno {
	local, err := s.ep.GetLocalAddress()
	if err != nil {
		return errnoOf(err)
	}
	if addr := unmapped(local.Addr); addr.Len() != 0 && (header.IsV4LoopbackAddress(addr) || addr == header.IPv6Loopback) {
		return 0
	}
	for _, p := range ports() {
		if p.number == local.Port {
			s.published.Store(p)
			return p.listen(s, backlog)
		}
	}
	return 0
}

// unpublish undoes publish. The host refuses the connections that wait, unless
// another socket listens.
func (s *stream) unpublish() {
	if p := s.published.Swap(nil); p != nil {
		// An error means that the monitor is gone, and the instance ends with it.
		_ = p.listen(s, -1)
	}
}

// listen records that s listens with a backlog, or does not (-1), and has the
// monitor act on it. It returns when the monitor has done so, because the
// program may tell a client of its port right away.
func (p *port) listen(s *stream, backlog int) linux.Errno {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := len(p.backlogs)
	delete(p.backlogs, s)
	if backlog >= 0 {
		p.backlogs[s] = backlog
	}
	now := len(p.backlogs)
	if p.host == nil {
		if (now > 0) == (before > 0) {
			return 0
		}
		return platform.Control(boot.Listen{Port: p.number, On: now > 0}.String())
	}
	r := boot.SocketRequest{Op: boot.SocketUnpublish, Port: p.number}
	if now > 0 {
		r.Op = boot.SocketPublish
		for _, b := range p.backlogs {
			r.Backlog = uint16(min(int(r.Backlog)+b, linux.SOMAXCONN))
		}
	}
	_, errno := monitor().ask(&r)
	if errno == 0 && !p.followed {
		p.followed = true
		go p.follow()
	}
	return errno
}

// follow passes the edges of the host's socket on to the sockets that listen.
func (p *port) follow() {
	for p.host.Wait(platform.Readable) == 0 {
		p.ready.Store(true)
		p.mu.Lock()
		for s := range p.backlogs {
			s.Queue.Notify(wait.In)
		}
		p.mu.Unlock()
	}
}

// accept accepts a connection of the host for l; EAGAIN if none waits. After
// EMFILE a connection still waits, and there is no new edge for it.
func (p *port) accept(l *stream) (*hostStream, linux.Errno) {
	if p.host == nil {
		return nil, linux.EAGAIN
	}
	var peer [linux.SockaddrMax]byte
	for {
		p.ready.Store(false)
		conn, n, errno := p.host.Accept(peer[:])
		switch errno {
		case 0:
			p.ready.Store(true) // for the next one, if there is one
			return acceptedStream(l, conn, peer[:n]), 0
		case linux.ECONNABORTED, linux.EINTR:
			continue
		case linux.EAGAIN, linux.EINVAL: // EINVAL: it does not listen any more
			return nil, linux.EAGAIN
		}
		p.ready.Store(true)
		return nil, errno
	}
}

// ownAddresses are the addresses that connections of the host show: those of the
// network card, and of the gateway.
var ownAddresses = sync.OnceValue(func() (a struct{ addr4, addr6, gateway4, gateway6, linkLocal tcpip.Address }) {
	a.addr4, a.gateway4 = header.IPv4Loopback, header.IPv4Loopback
	a.addr6, a.gateway6 = header.IPv6Loopback, header.IPv6Loopback
	cfg := platform.Config().Net
	if cfg == nil {
		return a
	}
	a.linkLocal = header.LinkLocalAddr(linkAddress(cfg))
	for _, net := range []struct {
		addr, gateway string
		local, peer   *tcpip.Address
	}{
		{cfg.Addr4, cfg.Gateway4, &a.addr4, &a.gateway4},
		{cfg.Addr6, cfg.Gateway6, &a.addr6, &a.gateway6},
	} {
		if p, err := netip.ParsePrefix(net.addr); err == nil {
			*net.local = tcpip.AddrFromSlice(p.Addr().AsSlice())
		}
		if gw, err := netip.ParseAddr(net.gateway); err == nil {
			*net.peer = tcpip.AddrFromSlice(gw.AsSlice())
		}
	}
	return a
})

// publishedLocal returns the local address that the program sees in a
// connection from peer to its listener at bound. A listener on any address gets
// the address of the network device.
func publishedLocal(bound, peer tcpip.FullAddress) tcpip.FullAddress {
	if addr := unmapped(bound.Addr); addr.Len() == 0 || addr == header.IPv4Any {
		bound.Addr = ownAddresses().addr4
		if peer.Addr.Len() == header.IPv6AddressSize {
			bound.Addr = ownAddresses().addr6
		}
	}
	return bound
}

// publishedPeer returns the address under which the program sees the client at
// peer, a socket address of the host. A client on the host's loopback interface
// appears as the gateway, because programs trust their own loopback interface.
// So does a client with an IPv6 address when the listener supports IPv4 only.
func publishedPeer(domain int, peer []byte) tcpip.FullAddress {
	full, errno := decode(linux.AF_INET6, peer)
	if errno != 0 {
		return tcpip.FullAddress{Addr: ownAddresses().gateway4}
	}
	full.NIC = 0
	full.Addr = unmapped(full.Addr)
	is6 := full.Addr.Len() != header.IPv4AddressSize
	switch {
	case is6 && domain == linux.AF_INET, !is6 && header.IsV4LoopbackAddress(full.Addr):
		full.Addr = ownAddresses().gateway4
	case full.Addr == header.IPv6Loopback:
		full.Addr = ownAddresses().gateway6
	}
	return full
}
