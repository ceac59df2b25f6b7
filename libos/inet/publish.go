package inet

import (
	"net/netip"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Published ports. The monitor has bound a socket of the host for each; when
// the program listens on the port, the monitor makes it listen, too, and its
// connections are accepted here and are the program's: no byte passes the
// network stack. Connections from elsewhere, the loopback interface above all,
// reach the same listener through the stack.

// port is a published port.
type port struct {
	number uint16
	fd     int
	opened sync.Once
	host   *platform.Host // set when opened; nil where the network brings the connections
	pumped sync.Once

	mu        sync.Mutex
	listeners []*listener // more than one with SO_REUSEPORT
	next      int         // whose turn it is
	room      sync.Cond   // a listener came, or has room again
}

// ports are the published ports, in the order of their descriptors.
var ports = sync.OnceValue(func() []*port {
	var all []*port
	for i, number := range platform.Config().Publish {
		p := &port{number: number, fd: boot.FDListen + i}
		p.room.L = &p.mu
		all = append(all, p)
	}
	return all
})

// listener is a listening socket's share of a published port.
type listener struct {
	port    *port
	socket  *stream
	backlog int
	queue   []*hostStream // accepted by the host; under port.mu
}

// publish has s take part in the connections of its port, if that is
// published and s listens for more than loopback.
func (s *stream) publish(backlog int) linux.Errno {
	local, err := s.ep.GetLocalAddress()
	if err != nil {
		return errnoOf(err)
	}
	if addr := unmapped(local.Addr); addr.Len() != 0 && (header.IsV4LoopbackAddress(addr) || addr == header.IPv6Loopback) {
		return 0
	}
	if l := s.published.Load(); l != nil { // listen(2) again: another backlog
		l.port.mu.Lock()
		l.backlog = backlog
		l.port.mu.Unlock()
		l.port.room.Signal()
		return 0
	}
	for _, p := range ports() {
		if p.number == local.Port {
			l := &listener{port: p, socket: s, backlog: backlog}
			s.published.Store(l)
			return p.add(l)
		}
	}
	return 0
}

// unpublish undoes publish and drops the connections nobody accepted.
func (s *stream) unpublish() {
	if l := s.published.Swap(nil); l != nil {
		l.port.remove(l)
	}
}

func (p *port) add(l *listener) linux.Errno {
	p.mu.Lock()
	p.listeners = append(p.listeners, l)
	errno := linux.Errno(0)
	if len(p.listeners) == 1 {
		errno = p.tell(true)
	}
	p.mu.Unlock()
	if errno != 0 {
		return errno
	}
	if p.host != nil {
		p.pumped.Do(func() { go p.pump() })
	}
	p.room.Signal()
	return 0
}

func (p *port) remove(l *listener) {
	p.mu.Lock()
	for i := range p.listeners {
		if p.listeners[i] == l {
			p.listeners = append(p.listeners[:i], p.listeners[i+1:]...)
			break
		}
	}
	if len(p.listeners) == 0 {
		// The monitor that does not answer is gone, and the instance with it.
		_ = p.tell(false)
	}
	queue := l.queue
	l.queue = nil
	p.mu.Unlock()
	for _, c := range queue {
		c.Release()
	}
}

// tell has the monitor begin or stop to listen, and returns when it does: the
// program may tell a client of its port right away. That p.mu is held keeps
// the messages in the order of what they tell.
func (p *port) tell(on bool) linux.Errno {
	errno := platform.Control(boot.Listen{Port: p.number, On: on}.String())
	if errno != 0 {
		return errno
	}
	p.opened.Do(func() { p.host, _ = platform.OpenHost(p.fd) })
	if p.host != nil {
		p.await(on)
	}
	return 0
}

// askAgain is how long await leaves the monitor between two looks, in
// nanoseconds: some part of what it needs.
const askAgain = 20e3

// await returns when the host's socket listens, or no longer does, with p.mu
// held. The socket tells: accept4 fails with EINVAL unless it listens.
func (p *port) await(on bool) {
	var addr [linux.SockaddrMax]byte
	var pause platform.Waiter
	for {
		conn, n, errno := p.host.Accept(addr[:])
		switch errno {
		case 0:
			if on {
				p.hand(conn, addr[:n])
				return
			}
			conn.Close()
			continue
		case linux.ECONNABORTED, linux.EINTR:
			continue
		case linux.EINVAL, linux.EAGAIN:
			if (errno == linux.EAGAIN) == on {
				return
			}
		default:
			return
		}
		platform.AfterFunc(askAgain, pause.Wake)
		pause.Wait()
	}
}

// pump accepts the host's connections for the listeners, as many as their
// backlogs hold; more wait in the host's own backlog.
func (p *port) pump() {
	var addr [linux.SockaddrMax]byte
	for {
		p.waitForRoom()
		conn, n, errno := p.host.Accept(addr[:])
		switch errno {
		case 0:
			p.mu.Lock()
			p.hand(conn, addr[:n])
			p.mu.Unlock()
		case linux.ECONNABORTED, linux.EINTR:
		default:
			// Nothing there, or not listening at the moment.
			if p.host.Wait(platform.Readable) != 0 {
				return
			}
		}
	}
}

// waitForRoom returns when some listener can take a connection.
func (p *port) waitForRoom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.pick() == nil {
		p.room.Wait()
	}
}

// pick is the next listener in turn that has room, with p.mu held.
func (p *port) pick() *listener {
	for i := range p.listeners {
		l := p.listeners[(p.next+i)%len(p.listeners)]
		if len(l.queue) < l.backlog {
			return l
		}
	}
	return nil
}

// hand queues a connection for the next listener, with p.mu held.
func (p *port) hand(conn *platform.Host, peer []byte) {
	l := p.pick()
	if l == nil { // it closed meanwhile
		conn.Close()
		return
	}
	p.next++
	l.queue = append(l.queue, newHostStream(l.socket, conn, peer))
	l.socket.Queue.Notify(wait.In)
}

// accept is the next connection of the host, or nil.
func (l *listener) accept() *hostStream {
	l.port.mu.Lock()
	defer l.port.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	c := l.queue[0]
	l.queue = append(l.queue[:0], l.queue[1:]...)
	l.port.room.Signal()
	return c
}

// ready says whether accept has a connection.
func (l *listener) ready() bool {
	l.port.mu.Lock()
	defer l.port.mu.Unlock()
	return len(l.queue) > 0
}

// publishedAddrs are the addresses that connections to published ports show.
var publishedAddrs = sync.OnceValue(func() (a struct{ local4, local6, gateway4, gateway6 tcpip.Address }) {
	a.local4, a.gateway4 = header.IPv4Loopback, header.IPv4Loopback
	a.local6, a.gateway6 = header.IPv6Loopback, header.IPv6Loopback
	cfg := platform.Config().Net
	if cfg == nil {
		return a
	}
	for _, net := range []struct {
		addr, gateway string
		local, peer   *tcpip.Address
	}{
		{cfg.Addr4, cfg.Gateway4, &a.local4, &a.gateway4},
		{cfg.Addr6, cfg.Gateway6, &a.local6, &a.gateway6},
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

// publishedLocal is the address under which the program sees itself in a
// connection from peer to its listener at bound: the network device's where
// that is any address.
func publishedLocal(bound, peer tcpip.FullAddress) tcpip.FullAddress {
	if addr := unmapped(bound.Addr); addr.Len() == 0 || addr == header.IPv4Any {
		bound.Addr = publishedAddrs().local4
		if peer.Addr.Len() == header.IPv6AddressSize {
			bound.Addr = publishedAddrs().local6
		}
	}
	return bound
}

// publishedPeer is the address under which the program sees the client at
// peer, a socket address of the host. A client on the host's own loopback
// comes from the gateway: programs trust those on theirs. So does a client
// with an IPv6 address when the listener knows IPv4 only.
func publishedPeer(domain int, peer []byte) tcpip.FullAddress {
	full, errno := decode(linux.AF_INET6, peer)
	if errno != 0 {
		return tcpip.FullAddress{Addr: publishedAddrs().gateway4}
	}
	full.NIC = 0
	full.Addr = unmapped(full.Addr)
	is6 := full.Addr.Len() != header.IPv4AddressSize
	switch {
	case is6 && domain == linux.AF_INET, !is6 && header.IsV4LoopbackAddress(full.Addr):
		full.Addr = publishedAddrs().gateway4
	case full.Addr == header.IPv6Loopback:
		full.Addr = publishedAddrs().gateway6
	}
	return full
}
