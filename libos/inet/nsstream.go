package inet

import (
	"encoding/binary"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// nsStream is a TCP socket of a network namespace of the host.
type nsStream struct{ nsSocket }

func newNsStream(domain int) *nsStream {
	s := new(nsStream)
	s.init(domain, linux.SOCK_STREAM, linux.IPPROTO_TCP)
	return s
}

// Connect implements socket.Socket.
func (s *nsStream) Connect(addr []byte) linux.Errno {
	peer, errno := peerOf(addr)
	if errno != 0 {
		return errno
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host.Load()
	if family(peer) == linux.AF_UNSPEC {
		return s.reset(h)
	}
	if h != nil {
		if errno := s.connects(h); errno != 0 {
			return errno
		}
	}
	s.connecting.Store(true)
	if s.handle.Load() == 0 && s.bound == nil {
		_, errno = s.make(0, peer)
	} else {
		errno = s.connectBound(peer)
	}
	if errno == 0 {
		return linux.EINPROGRESS
	}
	return errno
}

// connectBound connects a socket that the monitor has a copy of, or had one before the last
// attempt failed. s.mu is held.
func (s *nsStream) connectBound(peer []byte) linux.Errno {
	if s.handle.Load() == 0 {
		if _, errno := s.make(monitor().handle(), nil); errno != 0 {
			return errno
		}
		if errno := s.operate(boot.SocketRequest{Op: boot.SocketBind, Peer: s.bound}); errno != 0 {
			return errno
		}
	}
	errno := s.operate(boot.SocketRequest{Op: boot.SocketConnect, Peer: peer})
	if errno == 0 || errno == linux.EINPROGRESS {
		s.handle.Store(0) // the monitor has closed its copy
		errno = 0
	}
	return errno
}

// reset is connect(2) with AF_UNSPEC: it resets the connection. s.mu is held.
func (s *nsStream) reset(h *platform.Host) linux.Errno {
	switch {
	case h == nil:
		return 0
	case s.handle.Load() != 0:
		return s.operate(boot.SocketRequest{Op: boot.SocketConnect, Peer: make([]byte, 16)})
	}
	if errno := h.SetOption(linux.SOL_SOCKET, linux.SO_LINGER, lingerZero); errno != 0 {
		return errno
	}
	s.replace(nil)
	return 0
}

// Listen implements socket.Socket.
func (s *nsStream) Listen(backlog int) linux.Errno {
	if _, errno := s.open(); errno != 0 {
		return errno
	}
	if s.handle.Load() == 0 {
		return linux.EINVAL // a connection
	}
	if backlog < 0 {
		backlog = linux.SOMAXCONN
	}
	errno := s.operate(boot.SocketRequest{Op: boot.SocketListen, Backlog: uint16(min(backlog, 1<<16-1))})
	if errno == 0 {
		s.Queue.Notify(wait.In | wait.Out)
	}
	return errno
}

// Accept implements socket.Socket.
func (s *nsStream) Accept() (socket.Socket, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return nil, linux.EINVAL
	}
	for {
		var peer [linux.SockaddrMax]byte
		conn, _, errno := h.Accept(peer[:])
		switch errno {
		case 0:
			c := newNsStream(s.domain)
			c.options.inherit(&s.options) // the host's socket has them
			c.host.Store(conn)
			return c, 0
		case linux.ECONNABORTED, linux.EINTR:
			continue
		}
		return nil, errno
	}
}

// Write implements file.File.
func (s *nsStream) Write(p []byte) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return 0, linux.EPIPE
	}
	n, errno := s.wrote(h.Write(p))
	return n, errno
}

// Send implements socket.Socket.
func (s *nsStream) Send(m *socket.Message, flags int) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return 0, linux.EPIPE
	}
	return s.sendStream(h, m, flags)
}

// Read implements file.File.
func (s *nsStream) Read(p []byte) (int, linux.Errno) {
	if s.host.Load() == nil {
		return 0, linux.ENOTCONN
	}
	return s.nsSocket.Read(p)
}

// Recv implements socket.Socket.
func (s *nsStream) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return 0, linux.ENOTCONN
	}
	return s.recvStream(h, m, flags)
}

// Ready implements file.File.
func (s *nsStream) Ready() wait.Events {
	h := s.host.Load()
	if h == nil {
		return wait.Out | wait.Hup
	}
	if s.handle.Load() == 0 {
		return s.streamReady(h)
	}
	// It has no connection. The number of connections that wait for accept(2) is in
	// tcpi_unacked (tcp_get_info in net/ipv4/tcp.c).
	var info [28]byte
	n, errno := h.Option(linux.SOL_TCP, linux.TCP_INFO, info[:])
	switch {
	case errno != 0 || n < len(info) || info[0] != linux.TCP_LISTEN:
		return wait.Out | wait.Hup
	case binary.NativeEndian.Uint32(info[24:]) > 0:
		return wait.In
	}
	return 0
}
