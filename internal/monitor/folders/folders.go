// Package folders serves the host's folders to an instance, by 9P on a socket:
// package ninep's server as the monitors use it.
package folders

import (
	"errors"
	"fmt"

	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// socketOverhead is what a message must be shorter than the send buffer
// (unix_dgram_sendmsg in Linux's net/unix/af_unix.c).
const socketOverhead = 32

// buffer is the size that is asked for a socket's send buffer, which bounds the
// messages of a unix socket: some tens of the largest. The kernel gives less to
// an unprivileged monitor.
const buffer = 4 << 20

// GrowBuffer enlarges a socket's send buffer as far as the host allows. A
// smaller one is slower and no more.
func GrowBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer)
	}
}

// Server serves folders on one end of a SOCK_SEQPACKET socket, a message of
// 9P2000.L each.
type Server struct {
	*ninep.Server
	fd int // blocking
}

// New is the server of what is exported. It takes over fd.
func New(fd int, exports []ninep.Folder) (*Server, error) {
	GrowBuffer(fd)
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("files socket: %w", err), unix.Close(fd))
	}
	server, err := ninep.New(exports, min(boot.MaxFilesMessage, room-socketOverhead))
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &Server{server, fd}, nil
}

// Serve answers the instance until it ends, or Stop.
func (s *Server) Serve() error {
	if err := s.Server.Serve(s.fd); err != nil {
		return fmt.Errorf("folders: %w", err)
	}
	return nil
}

// Stop has Serve return.
func (s *Server) Stop() { _ = unix.Shutdown(s.fd, unix.SHUT_RDWR) }

// Close frees what the server has, after Serve.
func (s *Server) Close() {
	s.Server.Close()
	unix.Close(s.fd)
}
