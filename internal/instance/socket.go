package instance

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Bind makes a TCP socket for [Port.Socket]. The socket is bound to an address of the host. It
// is non-blocking and does not listen. An invalid IP address means all addresses of the host,
// and port 0 means any free port. The caller closes the socket.
func Bind(host netip.AddrPort) (socket int, err error) {
	if socket, err = bind(host); err == nil && host.Port() == 0 {
		socket, err = keepPort(host.Addr(), socket)
	}
	if err != nil {
		name := host.String()
		if !host.Addr().IsValid() {
			name = fmt.Sprintf("port %d", host.Port())
		}
		return -1, publishError(name, err)
	}
	return socket, nil
}

// keepPort returns a new socket with the same port as the given socket, which it closes. If the
// kernel has chosen the port of a socket, the socket loses the port when it stops listening. A
// socket that has requested its port keeps it.
func keepPort(addr netip.Addr, socket int) (int, error) {
	chosen, err := boundTo(socket)
	if err := errors.Join(err, unix.Close(socket)); err != nil {
		return -1, err
	}
	return bind(netip.AddrPortFrom(addr, chosen.Port()))
}

// bind makes a socket for Bind. It returns the error of the system call.
func bind(host netip.AddrPort) (socket int, err error) {
	switch ip := host.Addr(); {
	case !ip.IsValid():
		socket, err = bindTo(unix.AF_INET6, &unix.SockaddrInet6{Port: int(host.Port())})
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) { // a host without IPv6
			return bindTo(unix.AF_INET, &unix.SockaddrInet4{Port: int(host.Port())})
		}
		return socket, err
	case ip.Is4():
		return bindTo(unix.AF_INET, &unix.SockaddrInet4{Port: int(host.Port()), Addr: ip.As4()})
	default:
		return bindTo(unix.AF_INET6, &unix.SockaddrInet6{Port: int(host.Port()), Addr: ip.As16()})
	}
}

func publishError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("publish %s: another program uses this port; choose another one", name)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("publish %s: only root may use this port; choose one from 1024 on", name)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("publish %s: the host does not have this address; choose one that ip addr lists", name)
	}
	return fmt.Errorf("publish %s: %w", name, err)
}

// bindTo first binds without SO_REUSEADDR. This fails if another instance is bound to the
// address and does not listen yet. If it fails, bindTo tries again with the option, because
// earlier connections may be in TIME_WAIT.
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

// listens reports whether a socket listens.
func listens(socket int) (bool, error) {
	on, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return on != 0, os.NewSyscallError("getsockopt", err)
}

// listen makes the socket listen, or changes how many clients may wait.
func listen(socket, backlog int) error {
	// Connections inherit this option. With it, another socket can bind the port while
	// some connections are in TIME_WAIT.
	err := unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Listen(socket, backlog)
	}
	if err != nil {
		return publishError(address(socket), err)
	}
	return nil
}

// unlisten makes the host refuse clients. shutdown(2) returns the socket to its state before
// listen(2). It stays bound, and the host also refuses the clients in its queue. accept4(2) then
// fails with EINVAL on each descriptor of the socket.
func unlisten(socket int) error {
	if err := unix.Shutdown(socket, unix.SHUT_RD); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("stop listening on %s: %w", address(socket), err)
	}
	return nil
}

// boundTo returns the address of the host that a socket is bound to.
func boundTo(socket int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(socket)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, errors.New("it is not a TCP socket")
}

// address returns the address of a socket for clients, as text for users.
func address(socket int) string {
	addr, err := boundTo(socket)
	if err != nil {
		return err.Error()
	}
	return addr.String()
}
