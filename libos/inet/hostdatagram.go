package inet

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// hostDatagram is a UDP socket of a confined process. If the program connects it
// to an address outside, it is a socket of the host. Everything else passes the
// stack, and datagrams to the outside the gateway.
type hostDatagram struct{ hostSocket }

func newHostDatagram(domain int) *hostDatagram {
	s := new(hostDatagram)
	s.init(domain, linux.SOCK_DGRAM, linux.IPPROTO_UDP)
	return s
}

// Connect implements socket.Socket. A datagram socket may change its peer.
func (s *hostDatagram) Connect(addr []byte) linux.Errno {
	if len(addr) < 2 {
		return linux.EINVAL
	}
	if family(addr) == linux.AF_UNSPEC {
		s.disconnect()
		return s.within().Connect(addr)
	}
	full, errno := decode(s.domain, addr)
	switch {
	case errno != 0:
		return errno
	case s.options.v6Only() && unmapped(full.Addr) != full.Addr:
		return linux.ENETUNREACH
	case isInside(full):
		s.disconnect()
		return s.within().Connect(addr)
	}
	return s.dial(addr, full)
}

// disconnect closes the host's socket, if there is one.
func (s *hostDatagram) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.host.Load() != nil {
		s.replace(nil)
	}
}

// Write implements file.File.
func (s *hostDatagram) Write(p []byte) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return s.within().Write(p)
	}
	return s.wrote(h.Send(p, 0))
}

// Send implements socket.Socket. A datagram to another peer than the connected
// one passes the stack.
func (s *hostDatagram) Send(m *socket.Message, flags int) (int, linux.Errno) {
	h := s.host.Load()
	switch {
	case h == nil, len(m.Addr) > 0 && family(m.Addr) != linux.AF_UNSPEC:
		return s.within().Send(m, flags)
	case len(m.Data) == 1:
		return s.wrote(h.Send(m.Data[0], 0))
	case len(m.Data) == 0:
		return s.wrote(h.Send(nil, 0))
	case len(m.Data) <= platform.MaxBuffers:
		return s.wrote(h.Writev(m.Data))
	}
	buf := make([]byte, min(m.Len(), maxDatagram+1))
	m.Gather(buf, 0)
	return s.wrote(h.Send(buf, 0))
}

// maxDatagram is more than the longest datagram: longer ones fail with EMSGSIZE.
const maxDatagram = 65535

// Recv implements socket.Socket.
func (s *hostDatagram) Recv(m *socket.Message, flags int) (int, linux.Errno) {
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
	size, buf := m.Len(), []byte(nil)
	if len(m.Data) == 1 {
		buf = m.Data[0]
	} else {
		buf = make([]byte, min(size, maxDatagram))
	}
	n, errno := h.Recv(buf, flags&linux.MSG_PEEK|linux.MSG_TRUNC)
	if errno != 0 {
		return 0, errno
	}
	if len(m.Data) != 1 {
		m.Scatter(buf[:min(n, len(buf))], 0)
	}
	s.mu.Lock()
	m.Addr = encode(m.Addr[:0], s.domain, s.peer)
	s.mu.Unlock()
	if n > size {
		m.Flags |= linux.MSG_TRUNC
		if flags&linux.MSG_TRUNC == 0 {
			n = size
		}
	}
	return n, 0
}

// Ready implements file.File.
func (s *hostDatagram) Ready() wait.Events {
	if h := s.host.Load(); h != nil {
		return s.hostReady(h)
	}
	if in := s.inside.Load(); in != nil {
		return in.Ready()
	}
	return wait.Out
}
