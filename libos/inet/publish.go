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

// Published ports. The monitor has bound a socket of the host for each. When
// the program listens on a published port, the monitor makes the socket listen,
// too. The instance accepts its connections, and the program uses them
// directly: no byte passes the network stack. Connections from elsewhere,
// especially from the loopback interface, reach the same listener through the
// stack.

// port is a published port.
type port struct {
	number uint16
	fd     int
	opened sync.Once
	host   *platform.Host // set by opened; nil in a virtual machine, where connections arrive by the network
	pumped sync.Once

	mu        sync.Mutex
	listeners []*listener // several with SO_REUSEPORT
	next      int         // index of the next listener in turn
	room      sync.Cond   // a listener was added, or has room again
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
	queue   []*hostStream // accepted by the host; guarded by port.mu
}

// publish lets s accept connections to its port, if that is published and s
// does not listen on loopback only.
func (s *stream) publish(backlog int) linux.Errno {
	local, err := s.ep.GetLocalAddress()
	if err != nil {
		return errnoOf(err)
	}
	if addr := unmapped(local.Addr); addr.Len() != 0 && (header.IsV4LoopbackAddress(addr) || addr == header.IPv6Loopback) {
		return 0
	}
	if l := s.published.Load(); l != nil { // listen(2) again, with another backlog
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

// unpublish undoes publish and drops the connections that were not accepted.
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
		errno = p.setListening(true)
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
		// An error means that the monitor is gone, and the instance ends with it.
		_ = p.setListening(false)
	}
	queue := l.queue
	l.queue = nil
	p.mu.Unlock()
	for _, c := range queue {
		c.Release()
	}
}

// setListening tells the monitor to start or stop listening. It returns when
// the monitor has done so, because the program may tell a client of its port
// right away. p.mu is held, which keeps the messages in order.
func (p *port) setListening(on bool) linux.Errno {
	errno := platform.Control(boot.Listen{Port: p.number, On: on}.String())
	if errno != 0 {
		return errno
	}
	p.opened.Do(func() { p.host, _ = platform.OpenHost(p.fd) })
	if p.host != nil {
		p.awaitListening(on)
	}
	return 0
}

// listenPoll is how long awaitListening waits before it checks again, in
// nanoseconds. It is less than what the monitor needs.
const listenPoll = 20e3

// awaitListening returns when the host's socket listens, or when it no longer
// does. p.mu is held. accept4 shows the state: it fails with EINVAL unless the
// socket listens.
func (p *port) awaitListening(on bool) {
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
		platform.AfterFunc(listenPoll, pause.Wake)
		pause.Wait()
	}
}

// pump accepts the host's connections for the listeners, as many as their
// backlogs hold. Further ones wait in the host's backlog.
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
			// No connection waits, or the socket does not listen at the moment.
			if p.host.Wait(platform.Readable) != 0 {
				return
			}
		}
	}
}

// waitForRoom returns when a listener has room for a connection.
func (p *port) waitForRoom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.pick() == nil {
		p.room.Wait()
	}
}

// pick returns the next listener in turn that has room, or nil. p.mu is held.
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
	if l == nil { // the listener has closed
		conn.Close()
		return
	}
	p.next++
	l.queue = append(l.queue, acceptedStream(l.socket, conn, peer))
	l.socket.Queue.Notify(wait.In)
}

// accept returns the next connection of the host, or nil.
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

// ready reports whether accept has a connection.
func (l *listener) ready() bool {
	l.port.mu.Lock()
	defer l.port.mu.Unlock()
	return len(l.queue) > 0
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
