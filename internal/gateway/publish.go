package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// Publish makes a port of the guest reachable at hostAddr (HOST:PORT) of the
// host, network being tcp, tcp4, tcp6, udp, udp4 or udp6. The guest sees the
// true address of a client, except for clients on the host itself, which it
// sees at the gateway's address. The port stays published, whoever the guest
// is, until Close. Publish returns the address that it is bound to.
func (g *Gateway) Publish(network, hostAddr string, guestPort uint16) (netip.AddrPort, error) {
	addr, err := g.publish(network, hostAddr, guestPort)
	if err != nil {
		return addr, fmt.Errorf("publish %s: %w", hostAddr, explain(err))
	}
	return addr, nil
}

func (g *Gateway) publish(network, hostAddr string, guestPort uint16) (netip.AddrPort, error) {
	var (
		addr   net.Addr
		closer io.Closer
		serve  func()
	)
	switch {
	case strings.HasPrefix(network, "tcp"):
		l, err := net.Listen(network, hostAddr)
		if err != nil {
			return netip.AddrPort{}, err
		}
		addr, closer = l.Addr(), l
		serve = func() { g.Accept(l, guestPort) }
	case strings.HasPrefix(network, "udp"):
		p, err := g.listenUDP(network, hostAddr, guestPort)
		if err != nil {
			return netip.AddrPort{}, err
		}
		addr, closer = p.conn.LocalAddr(), p
		serve = p.serve
	default:
		return netip.AddrPort{}, net.UnknownNetworkError(network)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return netip.AddrPort{}, errors.Join(net.ErrClosed, closer.Close())
	}
	g.published = append(g.published, closer)
	g.publishing.Go(serve)
	return netip.ParseAddrPort(addr.String())
}

// explain puts an error of bind(2) into words that say what to do.
func explain(err error) error {
	for _, c := range []struct {
		errno syscall.Errno
		words string
	}{
		{syscall.EADDRINUSE, "address already in use: choose another host port with -p"},
		{syscall.EACCES, "permission denied: choose a host port of 1024 or above with -p"},
		{syscall.EADDRNOTAVAIL, "the host has no such address: leave it out of -p, or use one that ip addr lists"},
	} {
		if errors.Is(err, c.errno) {
			return explained{c.words, c.errno}
		}
	}
	return err
}

type explained struct {
	words string
	error
}

func (e explained) Error() string { return e.words }
func (e explained) Unwrap() error { return e.error }

const acceptBackoff = 10 * time.Millisecond

// Tap implements [link.Network]: a gateway is no interface of the host.
func (g *Gateway) Tap() (*os.File, bool) { return nil, false }

// Accept implements [link.Network]. It gives the guest the connections of l, a
// TCP listener, as to this port of its own, until l is closed.
func (g *Gateway) Accept(l net.Listener, port uint16) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptBackoff) // one client's trouble, or descriptors are short
			continue
		}
		host := conn.(*net.TCPConn)
		if !g.tcp.acquire() {
			reset(host)
			continue
		}
		if !g.begin(func(ctx context.Context) {
			defer g.tcp.release()
			g.accepted(ctx, host, port)
		}) {
			g.tcp.release()
			reset(host)
		}
	}
}

// accepted opens the guest's side of a connection to a published port. The
// client was accepted before the guest was asked, so a refusal reaches it as a
// reset.
func (g *Gateway) accepted(ctx context.Context, conn *net.TCPConn, port uint16) {
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	src, guest := g.clientAddr(client)
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	ep, wq, err := g.connect(dialing, src, netip.AddrPortFrom(guest, port))
	if err != nil && guest.Is6() {
		// The program may listen on IPv4 alone, and the client cannot know.
		ep, wq, err = g.connect(dialing, netip.AddrPortFrom(g.addrs.gateway4, 0), netip.AddrPortFrom(g.addrs.guest4, port))
	}
	cancel()
	if err != nil {
		reset(conn)
		return
	}
	g.relay(ctx, ep, wq, conn)
}

// clientAddr is the address under which the guest sees a client of the host,
// and the guest's own in the same family.
func (g *Gateway) clientAddr(client netip.AddrPort) (src netip.AddrPort, guest netip.Addr) {
	a := client.Addr().Unmap().WithZone("")
	guest = g.addrs.guestFor(a)
	if a.IsLoopback() || a.IsLinkLocalUnicast() || g.cfg.Prefix4.Contains(a) || g.cfg.Prefix6.Contains(a) {
		a = g.addrs.gatewayFor(a)
	}
	return netip.AddrPortFrom(a, client.Port()), guest
}
