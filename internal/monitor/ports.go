package monitor

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Listener is a published port: a socket that is bound, and listens while the
// program does.
type Listener struct {
	Port Port
	FD   int // not blocking
}

// Bind binds the ports, in order.
func Bind(ports []Port) (ls []*Listener, err error) {
	for _, p := range ports {
		fd, err := bind(p.Host)
		if err != nil {
			CloseListeners(ls)
			return nil, publishError(p, err)
		}
		ls = append(ls, &Listener{p, fd})
	}
	return ls, nil
}

func publishError(p Port, err error) error {
	host := p.Host.String()
	if !p.Host.Addr().IsValid() {
		host = fmt.Sprintf("port %d", p.Host.Port())
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("publish %s: another program uses this port; choose another one", host)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("publish %s: only root may use this port; choose one from 1024 on", host)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("publish %s: this machine does not have the address", host)
	}
	return fmt.Errorf("publish %s: %w", host, err)
}

// bind makes a TCP socket: bound, not blocking, not listening.
func bind(addr netip.AddrPort) (int, error) {
	switch ip := addr.Addr(); {
	case !ip.IsValid():
		fd, err := bindTo(unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port())})
		if !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fd, err
		}
		// A host without IPv6.
		return bindTo(unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port())})
	case ip.Is4():
		return bindTo(unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()})
	default:
		return bindTo(unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16()})
	}
}

// bindTo binds without SO_REUSEADDR first, which finds out another instance
// that is bound and does not listen yet. The option is for what is left of
// earlier connections (TIME_WAIT).
func bindTo(family int, addr unix.Sockaddr) (fd int, err error) {
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return -1, err
		}
	}
	if err := unix.Bind(fd, addr); !errors.Is(err, unix.EADDRINUSE) {
		return fd, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, err
	}
	if err := unix.Bind(fd, addr); err != nil {
		return -1, err
	}
	return fd, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
}

// Listen lets clients in or not, as the program asks for.
//
// To stop, shutdown(2) returns the socket to the state before listen: bound,
// and clients are refused, those in its queue too. accept4 fails with EINVAL
// then, on other descriptors of the socket too.
func (l *Listener) Listen(on bool) error {
	if !on {
		if err := unix.Shutdown(l.FD, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
			return fmt.Errorf("stop listening on port %d: %w", l.Port.Guest, err)
		}
		return nil
	}
	// From now on, so that connections inherit it and the port can be bound
	// again while some are in TIME_WAIT.
	err := unix.SetsockoptInt(l.FD, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Listen(l.FD, unix.SOMAXCONN)
	}
	if err != nil {
		return publishError(l.Port, err)
	}
	return nil
}

// where is the address by which clients find the port.
func (l *Listener) where() string {
	sa, err := unix.Getsockname(l.FD)
	if err != nil {
		return err.Error()
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return "an unknown address"
}

// CloseListeners frees the ports.
func CloseListeners(ls []*Listener) {
	for _, l := range ls {
		unix.Close(l.FD)
	}
}

// Obey lets clients in or not as a control message of the image says, by way
// of listen, and logs it. It does not trust the message's sender: what is not
// known is only logged.
func Obey(message string, ls []*Listener, listen func(l *Listener, on bool) error, log func(string, ...any)) error {
	msg, err := boot.ParseListen(message)
	if err != nil {
		log("%v", err)
		return nil
	}
	for _, l := range ls {
		if l.Port.Guest != msg.Port {
			continue
		}
		if err := listen(l, msg.On); err != nil {
			return err
		}
		state := "closed"
		if msg.On {
			state = "open"
		}
		log("port %d of the program, %s here, is %s", msg.Port, l.where(), state)
	}
	return nil
}
