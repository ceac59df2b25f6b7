package inet

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// hostStream is a TCP socket of a confined process. Its connection is the
// host's own, if the program dials an address outside or accepts a client of a
// published port. The program reads and writes it directly: the runtime's
// poller is attached to the host's descriptor (file.Pollable). Goroutines that
// pass the descriptor's edges on to the queue run only if the program waits in
// another way, by epoll or in a blocking call.
type hostStream struct{ hostSocket }

func newHostStream(domain int) *hostStream {
	s := new(hostStream)
	s.init(domain, linux.SOCK_STREAM, linux.IPPROTO_TCP)
	return s
}

// acceptedStream makes the socket of a connection from peer that the host
// accepted for listener l.
func acceptedStream(l *stream, host *platform.Host, peer []byte) *hostStream {
	s := newHostStream(l.domain)
	s.host.Store(host)
	s.peer = publishedPeer(l.domain, peer)
	if bound, err := l.ep.GetLocalAddress(); err == nil {
		s.local = publishedLocal(bound, s.peer)
	}
	return s
}

// Accept implements socket.Socket. As in Linux, a connection inherits the
// listener's options.
func (s *hostStream) Accept() (socket.Socket, linux.Errno) {
	c, errno := s.hostSocket.Accept()
	if a, ok := c.(*hostStream); ok {
		for _, o := range a.options.inherit(&s.options) {
			// The host knows what the listener's table knows.
			_ = setPassed(a.host.Load(), int(int32(o.Level)), int(int32(o.Name)), o.Value)
		}
	}
	return c, errno
}

// Connect implements socket.Socket.
func (s *hostStream) Connect(addr []byte) linux.Errno {
	if h := s.host.Load(); h != nil {
		if family(addr) == linux.AF_UNSPEC && len(addr) >= 2 {
			return s.disconnect(h)
		}
		if errno := s.connects(h); errno != 0 {
			return errno
		}
		// A failed attempt leaves a socket that can connect again.
	}
	full, errno := s.destination(addr)
	if errno != 0 {
		return errno
	}
	if in := s.inside.Load(); isInside(full) || in != nil && in.tableSocket.(*stream).busy() {
		return s.within().Connect(addr)
	}
	s.connecting.Store(true)
	if errno := s.dial(addr, full); errno != 0 {
		return errno
	}
	return linux.EINPROGRESS
}

// destination reads the address of connect(2). Its errors are those of stream.
func (s *hostStream) destination(addr []byte) (full tcpip.FullAddress, errno linux.Errno) {
	switch {
	case len(addr) < 2:
		return full, linux.EINVAL
	case family(addr) == linux.AF_UNSPEC:
		return full, 0 // within the image it has no effect
	case s.domain == linux.AF_INET6 && family(addr) == linux.AF_INET && len(addr) < inet6LenNoZone:
		return full, linux.EINVAL
	case s.domain == linux.AF_INET6 && family(addr) == linux.AF_INET:
		return full, linux.EAFNOSUPPORT
	}
	if full, errno = decode(s.domain, addr); errno == 0 && s.options.v6Only() && unmapped(full.Addr) != full.Addr {
		errno = linux.ENETUNREACH
	}
	return full, errno
}

// disconnect is connect(2) with AF_UNSPEC: it resets the connection.
func (s *hostStream) disconnect(h *platform.Host) linux.Errno {
	if errno := h.SetOption(linux.SOL_SOCKET, linux.SO_LINGER, lingerZero); errno != 0 {
		return errno
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replace(nil)
	return 0
}

// lingerZero is a struct linger with which close(2) resets a connection.
var lingerZero = appendValue(nil, &linux.Linger{On: 1})

// Write implements file.File.
func (s *hostStream) Write(p []byte) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return s.within().Write(p)
	}
	return s.wrote(h.Write(p))
}

// Send implements socket.Socket.
func (s *hostStream) Send(m *socket.Message, flags int) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return s.within().Send(m, flags)
	}
	return s.sendStream(h, m, flags)
}

// Recv implements socket.Socket.
func (s *hostStream) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return s.within().Recv(m, flags)
	}
	return s.recvStream(h, m, flags)
}

// Ready implements file.File.
func (s *hostStream) Ready() wait.Events {
	h := s.host.Load()
	if h == nil {
		if in := s.inside.Load(); in != nil {
			return in.Ready()
		}
		return wait.Out | wait.Hup
	}
	return s.streamReady(h)
}
