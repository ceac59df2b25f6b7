// Package hostinet gives a confined process sockets of the host. The image asks for a
// connection; the server asks its network for the target, makes the socket, starts to connect it, and
// passes the descriptor to the image (boot.SocketRequest). From then on the connection is
// the image's and the kernel's: nobody relays its bytes, and it outlives the server.
//
// The image is not trusted. It cannot name an address to the kernel: its filter permits
// neither bind, connect nor sendmsg, and no sendto with an address.
package hostinet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// Config says what a server's image may reach, and where.
type Config struct {
	// Namespace is the network namespace of the sockets; nil: the caller's.
	Namespace *netns.Namespace
	// Target returns what stands behind an address that the program names, if the
	// program may reach it. Otherwise the error is a unix.Errno, for the program.
	Target func(netip.AddrPort) (Target, error)
	// Listen makes the socket of a published port listen with this backlog, or stop
	// (-1). The error is for the program, as Target's.
	Listen func(port uint16, backlog int) error
	// Log receives details for finding problems.
	Log func(format string, args ...any)
}

// Target is what an address of the program stands for.
type Target struct {
	// Addr is an address of the host's network.
	Addr netip.AddrPort
	// Serve, if not nil, is the peer itself. It gets the other end of the image's
	// socket, and closes it: a stream, or for SOCK_DGRAM a socket that keeps the
	// bounds of messages and ends with its peer.
	Serve func(peer net.Conn, kind int)
}

// Server serves one image.
type Server struct {
	cfg Config
	fd  int // the server's end of boot.FDSockets

	served  atomic.Int32 // ends of pairs
	closing sync.Once
}

// New returns a server on fd, a blocking SOCK_SEQPACKET socket. The server owns it.
func New(fd int, cfg Config) *Server { return &Server{cfg: cfg, fd: fd} }

// Stop makes Serve return.
func (s *Server) Stop() {
	// It fails only if the image's end is closed, and then Serve returns by itself.
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
}

// Close frees the socket. Serve has returned, or is never called.
func (s *Server) Close() { s.closing.Do(func() { unix.Close(s.fd) }) }

// Serve handles the image's requests until the image ends or Stop is called. It runs in
// the network namespace, on a thread of its own, which ends with it.
func (s *Server) Serve() error {
	_, err := netns.Make(s.cfg.Namespace, func() (struct{}, error) {
		runtime.LockOSThread()
		if s.cfg.Namespace == nil {
			defer runtime.UnlockOSThread()
		}
		return struct{}{}, s.serve()
	})
	return err
}

func (s *Server) serve() error {
	buf := make([]byte, boot.MaxSocketRequest+1) // one byte more, to detect messages that are too long
	for {
		n, err := unix.Read(s.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil && !errors.Is(err, unix.ECONNRESET):
			return fmt.Errorf("host sockets: %w", err)
		case n <= 0:
			return nil
		}
		r, err := boot.ParseSocketRequest(buf[:n])
		if err != nil {
			// The library OS makes no such message, and an answer could not name its
			// request.
			s.cfg.Log("host sockets: %v", err)
			continue
		}
		s.answer(&r)
	}
}

// answer handles a request and sends the reply.
func (s *Server) answer(r *boot.SocketRequest) {
	fd, err := -1, error(nil)
	switch r.Op {
	case boot.SocketConnect:
		fd, err = s.connect(r)
	case boot.SocketListen:
		err = s.cfg.Listen(r.Port, int(r.Backlog))
	case boot.SocketUnlisten:
		err = s.cfg.Listen(r.Port, -1)
	}
	reply := boot.SocketReply{ID: r.ID}
	var rights []byte
	switch {
	case err != nil:
		errno := unix.EIO
		errors.As(err, &errno)
		reply.Errno = uint32(errno)
	case fd >= 0:
		rights = unix.UnixRights(fd)
	}
	failed := s.send(reply, rights)
	if rights == nil {
		return
	}
	unix.Close(fd)
	if failed != nil && !errors.Is(failed, unix.EPIPE) {
		// The kernel does not pass the descriptor, for example because too many are
		// in flight (ETOOMANYREFS). The image must not wait for it.
		s.cfg.Log("host sockets: pass a descriptor: %v", failed)
		reply.Errno = uint32(unix.ENFILE)
		_ = s.send(reply, nil) // it fails if the image is gone
	}
}

// send sends a reply with descriptors.
func (s *Server) send(reply boot.SocketReply, rights []byte) error {
	for {
		err := unix.Sendmsg(s.fd, reply.Append(nil), rights, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// connect is boot.SocketConnect.
func (s *Server) connect(r *boot.SocketRequest) (fd int, err error) {
	kind := int(r.Type)
	if kind != unix.SOCK_STREAM && kind != unix.SOCK_DGRAM || r.Domain != unix.AF_INET && r.Domain != unix.AF_INET6 {
		return -1, unix.EPROTONOSUPPORT
	}
	peer, err := address(r.Peer)
	if err != nil {
		return -1, err
	}
	to, err := s.cfg.Target(peer)
	if err != nil {
		return -1, err
	}
	if to.Serve != nil {
		return s.pair(to, kind)
	}
	domain, sa := unix.AF_INET, unix.Sockaddr(nil)
	switch a := to.Addr.Addr(); {
	case r.Domain == unix.AF_INET6 && kernelIPv6(), a.Is6() && !a.Is4In6():
		domain = unix.AF_INET6
		sa = &unix.SockaddrInet6{Port: int(to.Addr.Port()), Addr: a.As16(), ZoneId: zone(r.Peer)}
	default:
		sa = &unix.SockaddrInet4{Port: int(to.Addr.Port()), Addr: a.Unmap().As4()}
	}
	fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for _, o := range r.Options {
		if err := s.set(fd, o); err != nil {
			s.cfg.Log("host sockets: option %d of level %d: %v", o.Name, o.Level, err)
		}
	}
	if err := unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
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

// set sets an option of the program's before the connection is made.
func (s *Server) set(fd int, o boot.SocketOption) error {
	level, name := int(int32(o.Level)), int(int32(o.Name))
	switch _, set := boot.Passed(level, name); {
	case set:
	case level == unix.SOL_SOCKET && (name == unix.SO_SNDBUF || name == unix.SO_RCVBUF || name == unix.SO_PRIORITY):
	case level == unix.SOL_TCP && (name == unix.TCP_MAXSEG || name == unix.TCP_WINDOW_CLAMP):
	default:
		return unix.ENOPROTOOPT
	}
	return unix.SetsockoptString(fd, level, name, string(o.Value))
}

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

// address reads a struct sockaddr of the image.
func address(b []byte) (netip.AddrPort, error) {
	if len(b) < 2 {
		return netip.AddrPort{}, unix.EINVAL
	}
	switch family := uint16(b[0]) | uint16(b[1])<<8; {
	case family == unix.AF_INET && len(b) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3])), nil
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6-4:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), uint16(b[2])<<8|uint16(b[3])), nil
	case family == unix.AF_INET || family == unix.AF_INET6:
		return netip.AddrPort{}, unix.EINVAL
	}
	return netip.AddrPort{}, unix.EAFNOSUPPORT
}

// zone returns sin6_scope_id of a struct sockaddr_in6 of the image.
func zone(b []byte) uint32 {
	if len(b) < unix.SizeofSockaddrInet6 {
		return 0
	}
	return uint32(b[24]) | uint32(b[25])<<8 | uint32(b[26])<<16 | uint32(b[27])<<24
}
