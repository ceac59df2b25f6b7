package inet

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// sendStream sends m by a connection of the host.
func (s *passed) sendStream(h *platform.Host, m *socket.Message, flags int) (int, linux.Errno) {
	if len(m.Data) == 1 {
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

// recvStream receives from a connection of the host.
func (s *passed) recvStream(h *platform.Host, m *socket.Message, flags int) (int, linux.Errno) {
	if flags&linux.MSG_ERRQUEUE != 0 {
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

// connects returns the error of connect(2) for a socket that is connecting or connected;
// 0: it is neither.
func (s *passed) connects(h *platform.Host) linux.Errno {
	switch state := hostState(h); {
	case state == linux.TCP_SYN_SENT && s.connecting.Load():
		return linux.EALREADY
	case state != linux.TCP_CLOSE:
		return linux.EISCONN
	}
	return 0
}

// streamReady returns the level of a connection of the host.
func (s *passed) streamReady(h *platform.Host) wait.Events {
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
func (s *passed) state(h *platform.Host) int {
	if !s.connecting.Load() {
		return linux.TCP_ESTABLISHED
	}
	state := hostState(h)
	if state != linux.TCP_SYN_SENT && state != linux.TCP_CLOSE {
		s.connecting.Store(false)
	}
	return state
}
