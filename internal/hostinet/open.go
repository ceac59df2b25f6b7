package hostinet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// protocols are the kinds of sockets that an image may have, by type and protocol.
var protocols = map[[2]int]bool{
	{unix.SOCK_STREAM, 0}:                  true,
	{unix.SOCK_STREAM, unix.IPPROTO_TCP}:   true,
	{unix.SOCK_DGRAM, 0}:                   true,
	{unix.SOCK_DGRAM, unix.IPPROTO_UDP}:    true,
	{unix.SOCK_DGRAM, unix.IPPROTO_ICMP}:   true, // icmp(7): echo requests only
	{unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6}: true,
}

// open is boot.SocketOpen.
func (s *Server) open(r *boot.SocketRequest) (*made, error) {
	kind := int(r.Type)
	switch {
	case s.cfg.Whole && r.Domain == unix.AF_NETLINK:
		return pass(s.netlink(r))
	case r.Domain != unix.AF_INET && r.Domain != unix.AF_INET6, !protocols[[2]int{kind, int(r.Protocol)}]:
		return nil, unix.EPROTONOSUPPORT
	case !s.cfg.Whole && r.Handle != 0:
		return nil, unix.EPERM
	case r.Handle == 0 && kind == unix.SOCK_DGRAM && s.cfg.Mode() == boot.SocketsChecked && len(r.Peer) == 0:
		return nil, unix.EINVAL // nobody would check its datagrams
	case r.Handle != 0 && len(s.kept) >= maxKept():
		return nil, unix.ENFILE
	}
	if _, used := s.kept[r.Handle]; used {
		return nil, unix.EEXIST
	}
	domain, peer := int(r.Domain), r.Peer
	if len(peer) > 0 || !s.cfg.Whole {
		to, err := s.target(peer)
		if err != nil {
			return nil, err
		}
		if to.Serve != nil {
			return pass(s.pair(to, kind))
		}
		if !s.cfg.Whole {
			domain, peer = s.outside(r, to.Addr)
		}
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(r.Protocol))
	if err != nil {
		return nil, err
	}
	for _, o := range r.Options {
		if err := s.set(fd, o); err != nil {
			s.cfg.Log("host sockets: option %d of level %d: %v", o.Name, o.Level, err)
		}
	}
	if len(peer) > 0 {
		if err := connect(fd, peer); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	if r.Handle == 0 {
		return pass(fd, nil)
	}
	c := copied{fd: fd, domain: domain, kind: kind}
	if kind == unix.SOCK_DGRAM && s.cfg.Mode() == boot.SocketsChecked {
		return s.relayed(c)
	}
	return &made{fd, c}, nil
}

// target returns what stands behind a struct sockaddr that the program names.
func (s *Server) target(peer []byte) (Target, error) {
	to, err := address(peer)
	if err != nil {
		return Target{}, err
	}
	if s.cfg.Target == nil {
		return Target{Addr: to}, nil
	}
	return s.cfg.Target(to)
}

// outside returns the family of the socket, and the struct sockaddr, for a target of the
// user-mode network.
func (s *Server) outside(r *boot.SocketRequest, to netip.AddrPort) (domain int, peer []byte) {
	a := to.Addr()
	if r.Domain == unix.AF_INET6 && kernelIPv6() || a.Is6() && !a.Is4In6() {
		return unix.AF_INET6, sockaddr(netip.AddrPortFrom(netip.AddrFrom16(a.As16()), to.Port()), zone(r.Peer))
	}
	return unix.AF_INET, sockaddr(netip.AddrPortFrom(a.Unmap(), to.Port()), 0)
}

// kernelIPv6 reports whether the host's kernel has IPv6. If not, an AF_INET6 socket of the
// program still reaches IPv4 addresses.
var kernelIPv6 = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
})

// maxServed is how many ends of pairs the server holds at a time. Each needs a descriptor
// of this process.
const maxServed = 512

// pair returns one end of a pair of sockets, and has the target serve the other.
func (s *Server) pair(to Target, kind int) (int, error) {
	if s.served.Add(1) > maxServed {
		s.served.Add(-1)
		return -1, unix.ENFILE
	}
	typ := kind
	if kind == unix.SOCK_DGRAM {
		typ = unix.SOCK_SEQPACKET // a datagram socket does not notice the end of its peer
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.served.Add(-1)
		return -1, err
	}
	file := os.NewFile(uintptr(fds[1]), "peer")
	conn, err := net.FileConn(file) // duplicates the descriptor
	if err := errors.Join(err, file.Close()); err != nil {
		s.served.Add(-1)
		return -1, errors.Join(err, unix.Close(fds[0]))
	}
	go func() {
		defer s.served.Add(-1)
		to.Serve(conn, kind)
	}()
	return fds[0], nil
}
