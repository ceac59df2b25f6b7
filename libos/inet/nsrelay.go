package inet

import (
	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
)

// Where a policy holds, the monitor has the socket of an nsDatagram and checks each
// datagram. The descriptor is one end of a pair that carries messages (boot.Datagram).

// maxReached is how many destinations a socket remembers.
const maxReached = 1024

// sendRelayed sends a datagram by the monitor. The monitor reports a failure only later, so
// the first datagram to a destination asks before whether it can be reached.
func (s *nsDatagram) sendRelayed(h *platform.Host, m *socket.Message) (int, linux.Errno) {
	size := m.Len()
	longest := 65535 - 8 // in IPv6 (RFC 768, RFC 8200 §3)
	if s.domain == linux.AF_INET {
		longest -= 20
	}
	if size > longest {
		return 0, linux.EMSGSIZE
	}
	if errno := s.takeFailed(); errno != 0 {
		return 0, errno
	}
	if len(m.Addr) > 0 {
		if errno := s.reach(m.Addr); errno != 0 {
			return 0, errno
		}
	} else if !s.isConnected() {
		return 0, linux.EDESTADDRREQ
	}
	var header [boot.DatagramHeader]byte
	d := boot.Datagram{Addr: m.Addr, Control: appendControl(nil, m.Control)}
	if !d.Put(&header) {
		return 0, linux.EINVAL
	}
	data := m.Data
	if len(data) >= platform.MaxBuffers {
		one := make([]byte, size)
		m.Gather(one, 0)
		data = [][]byte{one}
	}
	n, errno := s.wrote(h.Writev(append([][]byte{header[:]}, data...)))
	return max(n-boot.DatagramHeader, 0), errno
}

func (s *nsDatagram) isConnected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected
}

// reach returns the error of sending to a destination.
func (s *nsDatagram) reach(addr []byte) linux.Errno {
	if len(addr) > boot.SocketAddrMax {
		return linux.EINVAL
	}
	s.mu.Lock()
	known := s.reached[string(addr)]
	s.mu.Unlock()
	if known {
		return 0
	}
	errno := s.operate(boot.SocketRequest{Op: boot.SocketReach, Peer: addr})
	if errno == 0 {
		s.mu.Lock()
		if s.reached == nil || len(s.reached) >= maxReached {
			s.reached = make(map[string]bool)
		}
		s.reached[string(addr)] = true
		s.mu.Unlock()
	}
	return errno
}

// recvRelayed receives a datagram from the monitor.
func (s *nsDatagram) recvRelayed(h *platform.Host, m *socket.Message, flags int) (int, linux.Errno) {
	if flags&linux.MSG_ERRQUEUE != 0 {
		return 0, linux.EAGAIN // errors come in order with the datagrams
	}
	if errno := s.takeFailed(); errno != 0 {
		return 0, errno
	}
	var header [boot.DatagramHeader]byte
	size := m.Len()
	data := m.Data
	gather := len(data) >= platform.MaxBuffers
	if gather {
		data = [][]byte{make([]byte, min(size, boot.DatagramData))}
	}
	r, errno := h.RecvMessage(append([][]byte{header[:]}, data...), nil, nil, flags&linux.MSG_PEEK|linux.MSG_TRUNC)
	if errno != 0 {
		return 0, errno
	}
	if r.N < len(header) {
		return 0, linux.ENETDOWN // the monitor is gone
	}
	d, err := boot.ParseDatagram(&header)
	if err != nil {
		return 0, linux.ENETDOWN
	}
	if d.Errno != 0 {
		return 0, linux.Errno(d.Errno)
	}
	n := r.N - len(header)
	if gather {
		m.Scatter(data[0][:min(n, len(data[0]))], 0)
	}
	m.Addr = append(m.Addr[:0], d.Addr...)
	m.Control = readControl(m.Control, d.Control)
	return received(m, min(n, size), n, flags), 0
}
