package inet

import (
	"sync/atomic"

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
type hostStream struct {
	hostSocket
	connecting atomic.Bool // the host may still be connecting
}

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
		switch {
		case family(addr) == linux.AF_UNSPEC && len(addr) >= 2:
			return s.disconnect(h)
		case s.connecting.Load() && hostState(h) == linux.TCP_SYN_SENT:
			return linux.EALREADY
		case hostState(h) != linux.TCP_CLOSE:
			return linux.EISCONN
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
	switch {
	case h == nil:
		return s.within().Send(m, flags)
	case len(m.Data) == 1:
		return s.wrote(h.Send(m.Data[0], flags&linux.MSG_MORE))
	}
	done := 0
	for data := m.Data; len(data) > 0; {
		some := data[:min(len(data), platform.MaxBuffers)]
		size := 0
		for _, b := range some {
			size += len(b)
		}
		n, errno := s.wrote(h.Writev(some))
		done += max(n, 0)
		switch {
		case errno != 0 && done == 0:
			return 0, errno
		case errno != 0 || n < size:
			return done, 0
		}
		data = data[len(some):]
	}
	return done, 0
}

// Recv implements socket.Socket.
func (s *hostStream) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	h := s.host.Load()
	switch {
	case h == nil:
		return s.within().Recv(m, flags)
	case flags&linux.MSG_ERRQUEUE != 0:
		return 0, linux.EAGAIN
	}
	if errno := s.takeFailed(); errno != 0 {
		return 0, errno
	}
	switch {
	case flags&linux.MSG_TRUNC != 0: // tcp(7): discard the data
		return h.Recv(make([]byte, min(m.Len(), tcpBufferDefault)), 0)
	case flags&linux.MSG_PEEK != 0 && len(m.Data) > 1:
		buf := make([]byte, min(m.Len(), tcpBufferDefault))
		n, errno := h.Recv(buf, linux.MSG_PEEK)
		return m.Scatter(buf[:max(n, 0)], 0), errno
	}
	done := 0
	for _, b := range m.Data {
		if len(b) == 0 {
			continue
		}
		n, errno := h.Recv(b, flags&linux.MSG_PEEK)
		done += max(n, 0)
		if errno != 0 && done == 0 {
			return 0, errno
		}
		if errno != 0 || n < len(b) {
			break
		}
	}
	return done, 0
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
	switch s.state(h) {
	case linux.TCP_SYN_SENT:
		return 0
	case linux.TCP_CLOSE:
		return s.hostReady(h) | wait.In | wait.Out | wait.RdHup | wait.Hup
	}
	return s.hostReady(h)
}

// state returns the state of a connection that may not stand yet. Later changes
// show in what hostReady finds.
func (s *hostStream) state(h *platform.Host) int {
	if !s.connecting.Load() {
		return linux.TCP_ESTABLISHED
	}
	state := hostState(h)
	if state != linux.TCP_SYN_SENT && state != linux.TCP_CLOSE {
		s.connecting.Store(false)
	}
	return state
}
