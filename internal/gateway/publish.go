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

// Publish forwards hostAddr (HOST:PORT) of the host to a port of the guest. network
// is tcp, tcp4, tcp6, udp, udp4 or udp6. The guest sees the true address of a
// client, but the gateway's address for a client on the host itself. The port stays
// published until Close, also for later guests. Publish returns the address that
// it listens on.
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

// explain adds to an error of bind(2) what the user can do.
func explain(err error) error {
	for _, c := range []struct {
		errno syscall.Errno
		text  string
	}{
		{syscall.EADDRINUSE, "address already in use: choose another host port with -p"},
		{syscall.EACCES, "permission denied: choose a host port of 1024 or above with -p"},
		{syscall.EADDRNOTAVAIL, "the host has no such address: leave it out of -p, or use one that ip addr lists"},
	} {
		if errors.Is(err, c.errno) {
			return explained{c.text, c.errno}
		}
	}
	return err
}

// explained is an error with another text.
type explained struct {
	text string
	error
}

func (e explained) Error() string { return e.text }
func (e explained) Unwrap() error { return e.error }

// acceptBackoff is the pause after an error of accept(2).
const acceptBackoff = 10 * time.Millisecond

// Tap implements [link.Network]: a gateway has no interface of the host.
func (g *Gateway) Tap() (*os.File, bool) { return nil, false }

// Accept implements [link.Network]. It forwards the connections of l, a TCP
// listener, to the given port of the guest until l is closed.
func (g *Gateway) Accept(l net.Listener, port uint16) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptBackoff) // the client has gone, or descriptors are short
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

// accepted connects a client of a published port to the guest. The host has
// accepted the client already, so the client sees a refusal as a reset.
func (g *Gateway) accepted(ctx context.Context, conn *net.TCPConn, port uint16) {
	client := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	src, guest := g.clientAddr(client)
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	ep, wq, err := g.connect(dialing, src, netip.AddrPortFrom(guest, port))
	if err != nil && guest.Is6() {
		// The program may listen on IPv4 only, and the client cannot know that.
		ep, wq, err = g.connect(dialing, netip.AddrPortFrom(g.addrs.gateway4, 0), netip.AddrPortFrom(g.addrs.guest4, port))
	}
	cancel()
	if err != nil {
		reset(conn)
		return
	}
	g.relay(ctx, ep, wq, conn)
}

// clientAddr returns the address that the guest sees for a client, and the guest's
// own address in the same family.
func (g *Gateway) clientAddr(client netip.AddrPort) (src netip.AddrPort, guest netip.Addr) {
	a := client.Addr().Unmap().WithZone("")
	guest = g.addrs.guestFor(a)
	if a.IsLoopback() || a.IsLinkLocalUnicast() || g.cfg.Prefix4.Contains(a) || g.cfg.Prefix6.Contains(a) {
		a = g.addrs.gatewayFor(a)
	}
	return netip.AddrPortFrom(a, client.Port()), guest
}
