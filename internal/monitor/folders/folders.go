// Package folders serves folders of the host to an instance over 9P on a socket. Monitors call
// it. It uses the server of package ninep.
package folders

import (
	"errors"
	"fmt"

	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// socketOverhead is the number of bytes of the send buffer that a message cannot
// use (unix_dgram_sendmsg in Linux's net/unix/af_unix.c).
const socketOverhead = 32

// buffer is the requested size in bytes of a socket's send buffer. The send buffer bounds the
// messages in flight on a unix socket. This size holds some tens of the largest messages. An
// unprivileged monitor gets less from the kernel.
const buffer = 4 << 20

// GrowBuffer enlarges a socket's send buffer up to the host's limit. A smaller buffer is
// slower, but works.
func GrowBuffer(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, buffer)
	}
}

// Server serves folders on one end of a SOCK_SEQPACKET socket: each packet is a
// message of 9P2000.L.
type Server struct {
	*ninep.Server
	fd int // a blocking socket
}

// New returns a server of the exported folders. It owns fd.
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

// Serve handles requests until the instance ends or Stop is called.
func (s *Server) Serve() error {
	if err := s.Server.Serve(s.fd); err != nil {
		return fmt.Errorf("folders: %w", err)
	}
	return nil
}

// Stop makes Serve return.
func (s *Server) Stop() { _ = unix.Shutdown(s.fd, unix.SHUT_RDWR) }

// Close releases the server's resources. Call it after Serve has returned.
func (s *Server) Close() {
	s.Server.Close()
	unix.Close(s.fd)
}
