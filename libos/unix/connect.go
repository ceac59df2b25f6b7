package unix

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// connecting is held while the locks of two sockets are held. Only Connect
// needs two.
var connecting sync.Mutex

// Listen implements socket.Socket.
func (s *Socket) Listen(backlog int) linux.Errno {
	if !s.connects() {
		return linux.EOPNOTSUPP
	}
	s.mu.Lock()
	if s.addr == nil || s.state != unconnected && s.state != listening {
		s.mu.Unlock()
		return linux.EINVAL
	}
	s.state = listening
	s.backlog = backlog
	s.creds.Store(self(true))
	waiting := s.unblock()
	s.mu.Unlock()
	notifyAll(waiting)
	return 0
}

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, linux.Errno) {
	if !s.connects() {
		return nil, linux.EOPNOTSUPP
	}
	s.mu.Lock()
	switch {
	case s.state != listening, len(s.pending) == 0 && s.noRecv:
		s.mu.Unlock()
		return nil, linux.EINVAL
	case len(s.pending) == 0:
		s.mu.Unlock()
		return nil, linux.EAGAIN
	}
	conn := s.pending[0]
	s.pending[0] = nil
	s.pending = s.pending[1:]
	waiting := s.unblock()
	s.mu.Unlock()
	notifyAll(waiting)
	return conn, 0
}

// Connect implements socket.Socket.
func (s *Socket) Connect(sa []byte) linux.Errno {
	if !s.connects() {
		return s.associate(sa)
	}
	listener, errno := find(sa, s.Type())
	if errno != 0 {
		return errno
	}
	if s.passCred.Load() {
		if errno := s.autobind(); errno != 0 {
			return errno
		}
	}
	if errno := s.connectTo(listener); errno != 0 {
		return errno
	}
	s.Queue.Notify(wait.Out)
	listener.Queue.Notify(wait.In)
	return 0
}

func (s *Socket) connectTo(listener *Socket) linux.Errno {
	connecting.Lock()
	defer connecting.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == connected:
		return linux.EISCONN
	case s.state != unconnected:
		return linux.EINVAL
	case s == listener:
		return linux.ECONNREFUSED
	}
	listener.mu.Lock()
	defer listener.mu.Unlock()
	if listener.state != listening || listener.noRecv {
		return linux.ECONNREFUSED
	}
	if len(listener.pending) > listener.backlog {
		listener.block(s)
		return linux.EAGAIN
	}
	conn, errno := create(s.Type(), 0)
	if errno != 0 {
		return errno
	}
	conn.addr = listener.addr // an accepted socket has the listener's name
	conn.passCred.Store(listener.passCred.Load())
	conn.join(s)
	s.join(conn)
	listener.pending = append(listener.pending, conn)
	return 0
}

// associate is connect(2) of a datagram socket. It sets the destination of its
// datagrams, and the only sender that it accepts.
func (s *Socket) associate(sa []byte) linux.Errno {
	if len(sa) < familySize {
		return linux.EINVAL
	}
	var peer *Socket
	if family(sa) != linux.AF_UNSPEC {
		var errno linux.Errno
		if peer, errno = find(sa, s.Type()); errno != 0 {
			return errno
		}
		if !peer.acceptsFrom(s) {
			return linux.EPERM
		}
		if s.passCred.Load() {
			if errno := s.autobind(); errno != 0 {
				return errno
			}
		}
	}
	if old := s.peer.Swap(peer); old != nil && old != peer {
		s.dissolved(old)
	}
	s.Queue.Notify(wait.Out)
	return 0
}

// dissolved ends the association of a datagram socket with peer. Queued
// datagrams are discarded, and peer's association with s fails.
func (s *Socket) dissolved(peer *Socket) {
	s.mu.Lock()
	queue, waiting := s.queue, s.unblock()
	s.queue = nil
	s.mu.Unlock()
	notifyAll(waiting)
	if len(queue) == 0 {
		return
	}
	for _, p := range queue {
		p.discard()
	}
	if peer.peer.Load() != s {
		return
	}
	peer.mu.Lock()
	if peer.state != closed {
		peer.err = linux.ECONNRESET
	}
	peer.mu.Unlock()
	peer.Queue.Notify(wait.Err)
}

// acceptsFrom reports whether datagram socket s receives from sender. A
// connected one receives only from its peer.
func (s *Socket) acceptsFrom(sender *Socket) bool {
	peer := s.peer.Load()
	return peer == nil || peer == sender
}
