// Package hostinet gives a confined process sockets of the host. The image asks for a
// socket; the server makes it, and passes the descriptor to the image (boot.SocketRequest).
// From then on the socket is the image's and the kernel's: nobody relays its bytes, and a
// connection outlives the server.
//
// A program in the user-mode network gets connections only. The server asks its network
// for the target first. For a program that has the network of a namespace (Config.Whole),
// the server also binds sockets, has them listen, and sets options.
//
// The image is not trusted. It cannot name an address to the kernel, because its filter
// permits neither bind nor connect, unless nothing is closed to it.
package hostinet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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
	// Whole says that the namespace is the program's network: it binds and listens
	// there, and sees its interfaces.
	Whole bool
	// Target returns what stands behind an address that the program names, if the
	// program may reach it. Otherwise the error is a unix.Errno, for the program. If
	// Whole is set, it may be nil: the program may reach everything.
	Target func(netip.AddrPort) (Target, error)
	// Listen makes the socket of a published port listen with this backlog, or stop
	// (-1). The error is for the program, as Target's.
	Listen func(port uint16, backlog int) error
	// UID and GID are the ids of the sockets, if Whole is set; 0: the caller's.
	UID, GID int
	// Log receives details for finding problems.
	Log func(format string, args ...any)
}

// Mode returns the boot parameter of an image that this configuration is for.
func (c *Config) Mode() boot.SocketMode {
	switch {
	case c == nil:
		return boot.SocketsNone
	case !c.Whole:
		return boot.SocketsOut
	case c.Target != nil:
		return boot.SocketsChecked
	}
	return boot.SocketsAll
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

	// kept are the copies of sockets that the image names by their handles. Only Serve
	// uses it, and Close after it.
	kept map[uint32]copied

	served  atomic.Int32 // ends of pairs
	closing sync.Once
}

// New returns a server on fd, a blocking SOCK_SEQPACKET socket. The server owns it.
func New(fd int, cfg Config) *Server {
	return &Server{cfg: cfg, fd: fd, kept: make(map[uint32]copied)}
}

// Stop makes Serve return.
func (s *Server) Stop() {
	// It fails only if the image's end is closed, and then Serve returns by itself.
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
}

// Close frees the sockets. Serve has returned, or is never called.
func (s *Server) Close() {
	s.closing.Do(func() {
		unix.Close(s.fd)
		for _, c := range s.kept {
			if err := c.close(); err != nil {
				s.cfg.Log("host sockets: %v", err)
			}
		}
	})
}

// Serve handles the image's requests until the image ends or Stop is called. It runs in
// the network namespace and with the ids of the sockets, on a thread of its own, which
// ends with it.
func (s *Server) Serve() error {
	ended := make(chan error, 1)
	go func() {
		_, err := netns.Make(s.cfg.Namespace, func() (struct{}, error) {
			runtime.LockOSThread() // for ever: the thread's ids are changed
			return struct{}{}, s.serve()
		})
		ended <- err
	}()
	return <-ended
}

func (s *Server) serve() error {
	if err := s.changeIDs(); err != nil {
		return fmt.Errorf("host sockets: %w", err)
	}
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

// changeIDs gives the thread's sockets their ids (setfsuid(2)). The capabilities that
// the thread then lacks are about files.
func (s *Server) changeIDs() error {
	if !s.cfg.Whole || s.cfg.UID == 0 && s.cfg.GID == 0 {
		return nil
	}
	if err := unix.Setfsgid(s.cfg.GID); err != nil {
		return err
	}
	return unix.Setfsuid(s.cfg.UID)
}

// answer handles a request and sends the reply.
func (s *Server) answer(r *boot.SocketRequest) {
	reply := boot.SocketReply{ID: r.ID}
	made, err := s.do(r, &reply)
	var rights []byte
	switch {
	case err != nil:
		errno := unix.EIO
		errors.As(err, &errno)
		reply.Errno = uint32(errno)
	case made != nil:
		rights = unix.UnixRights(made.fd)
	}
	failed := s.send(reply, rights)
	if made == nil {
		return
	}
	if made.copy.fd != made.fd || failed != nil {
		unix.Close(made.fd)
	}
	switch {
	case made.copy.kind == 0:
	case failed == nil:
		s.kept[r.Handle] = made.copy
	case made.copy.relay != nil:
		_ = made.copy.close() // the socket was of no use
	}
	if failed != nil && !errors.Is(failed, unix.EPIPE) {
		// The kernel does not pass the descriptor, for example because too many are
		// in flight (ETOOMANYREFS). The image must not wait for it.
		s.cfg.Log("host sockets: pass a descriptor: %v", failed)
		reply.Errno = uint32(unix.ENFILE)
		_ = s.send(reply, nil) // it fails if the image is gone
	}
}

// made is a descriptor to pass.
type made struct {
	fd   int
	copy copied // what the server keeps; the zero value: nothing
}

// pass returns a descriptor of which the server keeps no copy.
func pass(fd int, err error) (*made, error) {
	if err != nil {
		return nil, err
	}
	return &made{fd: fd, copy: copied{fd: -1}}, nil
}

// do does what a request asks for. It returns the descriptor to pass, or nil.
func (s *Server) do(r *boot.SocketRequest, reply *boot.SocketReply) (*made, error) {
	switch r.Op {
	case boot.SocketOpen:
		return s.open(r)
	case boot.SocketPublish:
		return nil, s.cfg.Listen(r.Port, int(r.Backlog))
	case boot.SocketUnpublish:
		return nil, s.cfg.Listen(r.Port, -1)
	}
	if !s.cfg.Whole {
		return nil, unix.EPERM
	}
	switch r.Op {
	case boot.SocketTable:
		return pass(table(string(r.Peer)))
	case boot.SocketInterface:
		return nil, interfaceIoctl(r, reply)
	}
	return nil, s.operate(r, reply)
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
