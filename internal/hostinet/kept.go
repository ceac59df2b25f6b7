package hostinet

import (
	"errors"
	"sync"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// copied is the server's copy of a socket of the image. An operation on the copy is one
// on the socket.
type copied struct {
	fd     int
	domain int
	kind   int    // SOCK_STREAM or SOCK_DGRAM
	relay  *relay // of datagrams; nil: the image has the socket itself
}

func (c copied) close() error {
	if c.relay != nil {
		return c.relay.close() // closes fd
	}
	return unix.Close(c.fd)
}

// maxKept is how many copies a server keeps: half of the descriptors that this process
// may have.
var maxKept = sync.OnceValue(func() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 512
	}
	return int(min(limit.Cur, 1<<20)) / 2
})

// operate does an operation on a copy.
func (s *Server) operate(r *boot.SocketRequest, reply *boot.SocketReply) error {
	c, ok := s.kept[r.Handle]
	if !ok {
		return unix.EBADF
	}
	switch r.Op {
	case boot.SocketBind:
		return bind(c.fd, r.Peer)
	case boot.SocketConnect:
		return s.reconnect(r, c)
	case boot.SocketListen:
		return unix.Listen(c.fd, int(r.Backlog))
	case boot.SocketSet:
		for _, o := range r.Options {
			if err := s.set(c.fd, o); err != nil {
				return err
			}
		}
		return nil
	case boot.SocketGet:
		return get(c.fd, r, reply)
	case boot.SocketName, boot.SocketPeer:
		value, err := name(c.fd, r.Op == boot.SocketPeer)
		reply.Value = value
		return err
	case boot.SocketReach:
		return s.reach(r.Peer)
	}
	return s.drop(r.Handle, c) // boot.SocketClose
}

// reconnect is boot.SocketConnect.
func (s *Server) reconnect(r *boot.SocketRequest, c copied) error {
	disconnects := len(r.Peer) >= 2 && unspecified(r.Peer)
	if !disconnects {
		if _, err := s.target(r.Peer); err != nil {
			return err
		}
	}
	err := connect(c.fd, r.Peer)
	if c.kind == unix.SOCK_STREAM && !disconnects && (err == nil || errors.Is(err, unix.EINPROGRESS)) {
		return errors.Join(err, s.drop(r.Handle, c))
	}
	return err
}

// reach is boot.SocketReach. Connecting a datagram socket sends nothing.
func (s *Server) reach(peer []byte) error {
	to, err := s.target(peer)
	if err != nil {
		return err
	}
	if to.Addr.Addr().IsMulticast() || to.Addr.Port() == 0 {
		return nil // the socket's options decide, or sending fails
	}
	domain := unix.AF_INET
	if to.Addr.Addr().Is6() {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = connect(fd, sockaddr(to.Addr, zone(peer)))
	if errors.Is(err, unix.EACCES) {
		return nil // broadcast, for which the socket may have the option
	}
	return err
}

// drop closes a copy.
func (s *Server) drop(handle uint32, c copied) error {
	delete(s.kept, handle)
	return c.close()
}
