package vsock

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// Socket is a stream socket. The lock of its network guards it.
type Socket struct {
	socket.Base
	n *Network

	state         state
	local, remote address
	err           linux.Errno // for SO_ERROR and the next call
	released      bool

	// Directions that were shut down on this side and on the peer's.
	noRecv, noSend         bool
	peerNoRecv, peerNoSend bool
	done                   bool // the connection has ended

	backlog int       // length of a listening socket's queue
	pending []*Socket // connections to accept

	timer   *platform.Timer // of a connect or close in flight
	timeout int64           // of a connect, in nanoseconds

	stream
	queued bool // in Network.queued, because the link had no room
	ints   map[int]int
}

type state int

const (
	idle state = iota
	listening
	connecting
	connected // also after the connection has ended
)

// address is a socket address.
type address struct{ cid, port uint32 }

var unbound = address{linux.VMADDR_CID_ANY, linux.VMADDR_PORT_ANY}

func (n *Network) newSocket() *Socket {
	s := &Socket{n: n, local: unbound, remote: unbound, timeout: defaultTimeout}
	s.Init(linux.AF_VSOCK, linux.SOCK_STREAM, 0)
	s.limit, s.minLimit, s.maxLimit, s.ceiling = defaultBuffer, leastBuffer, defaultBuffer, defaultBuffer
	return s
}

// parse reads a struct sockaddr_vm.
func parse(sa []byte) (address, linux.Errno) {
	v, errno := socket.Get[linux.SockaddrVM](sa)
	if errno != 0 || v.Family != linux.AF_VSOCK || v.Flags&^linux.VMADDR_FLAG_TO_HOST != 0 {
		return address{}, linux.EINVAL
	}
	return address{v.CID, v.Port}, 0
}

func (a address) sockaddr() []byte {
	sa := make([]byte, unsafe.Sizeof(linux.SockaddrVM{}))
	socket.Put(sa, linux.SockaddrVM{Family: linux.AF_VSOCK, Port: a.port, CID: a.cid})
	return sa
}

// Bind implements socket.Socket.
func (s *Socket) Bind(sa []byte) linux.Errno {
	a, errno := parse(sa)
	if errno != 0 {
		return errno
	}
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch {
	case s.local != unbound:
		return linux.EINVAL
	case a.cid != linux.VMADDR_CID_ANY && a.cid != s.n.link.CID():
		return linux.EADDRNOTAVAIL
	}
	if errno := s.n.bind(s, a.port); errno != 0 {
		return errno
	}
	s.local.cid = a.cid
	return 0
}

// Listen implements socket.Socket.
func (s *Socket) Listen(backlog int) linux.Errno {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.state != idle && s.state != listening || s.local == unbound {
		return linux.EINVAL
	}
	s.state, s.backlog = listening, backlog
	return 0
}

// Accept implements socket.Socket.
func (s *Socket) Accept() (socket.Socket, linux.Errno) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch {
	case s.state != listening:
		return nil, linux.EINVAL
	case len(s.pending) == 0:
		return nil, linux.EAGAIN
	}
	c := s.pending[0]
	s.pending = s.pending[1:]
	return c, 0
}

// request accepts a connection request.
func (s *Socket) request(h *Header) {
	if len(s.pending) > s.backlog {
		s.n.refuse(h)
		return
	}
	c := s.n.newSocket()
	c.limit, c.minLimit, c.maxLimit, c.ceiling = s.limit, s.minLimit, s.maxLimit, s.ceiling
	c.state = connected
	c.local = address{uint32(h.DstCID), h.DstPort}
	c.remote = address{uint32(h.SrcCID), h.SrcPort}
	c.peerAlloc, c.peerTaken = h.BufAlloc, h.FwdCnt
	s.n.flows[c.flow()] = c
	s.pending = append(s.pending, c)
	c.send(opResponse, 0)
	s.Queue.Notify(wait.In)
}

func (s *Socket) flow() flow { return flow{s.local.port, s.remote.cid, s.remote.port} }

// defaultTimeout is the time limit for a connect in nanoseconds
// (VSOCK_DEFAULT_CONNECT_TIMEOUT).
const defaultTimeout = 2e9

// Connect implements socket.Socket.
func (s *Socket) Connect(sa []byte) linux.Errno {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch s.state {
	case connected:
		if s.done {
			return linux.EINVAL
		}
		return linux.EISCONN
	case connecting:
		return linux.EALREADY
	case listening:
		return linux.EINVAL
	}
	to, errno := parse(sa)
	switch {
	case errno != 0:
		return errno
	case s.n.down:
		return linux.ENETUNREACH
	}
	if s.local == unbound {
		if errno := s.n.bind(s, linux.VMADDR_PORT_ANY); errno != 0 {
			return errno
		}
	}
	s.remote = to
	if s.n.flows[s.flow()] != nil {
		return linux.EADDRINUSE
	}
	s.n.flows[s.flow()] = s
	s.state, s.err = connecting, 0
	s.send(opRequest, 0)
	var t *platform.Timer
	t = platform.AfterFunc(s.timeout, func() {
		s.n.mu.Lock()
		defer s.n.mu.Unlock()
		if s.timer == t && s.state == connecting {
			s.fail(linux.ETIMEDOUT)
		}
	})
	s.timer = t
	return linux.EINPROGRESS
}

// fail ends a connection or a connect with an error.
func (s *Socket) fail(errno linux.Errno) {
	s.err = errno
	if s.state == connecting {
		s.state = idle
		s.forget()
		s.Queue.Notify(wait.Out | wait.Err)
		return
	}
	s.end()
}

// end handles the end of the connection.
func (s *Socket) end() {
	s.done, s.peerNoRecv, s.peerNoSend = true, true, true
	s.forget()
	s.Queue.Notify(wait.In | wait.Out | wait.RdHup | wait.Hup)
}

// forget stops the delivery of packets to the socket. It frees the port of a
// closed socket.
func (s *Socket) forget() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if f := s.flow(); s.n.flows[f] == s {
		delete(s.n.flows, f)
	}
	if s.released && s.n.bound[s.local.port] == s {
		delete(s.n.bound, s.local.port)
	}
}

// LocalAddr implements socket.Socket.
func (s *Socket) LocalAddr() ([]byte, linux.Errno) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.local.sockaddr(), 0
}

// PeerAddr implements socket.Socket.
func (s *Socket) PeerAddr() ([]byte, linux.Errno) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.state != connected {
		return nil, linux.ENOTCONN
	}
	return s.remote.sockaddr(), 0
}

// Ready implements file.File. It follows Linux's vsock_poll.
func (s *Socket) Ready() wait.Events {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	var ev wait.Events
	if s.err != 0 {
		ev |= wait.Err
	}
	if s.noSend && (s.noRecv || s.peerNoSend) {
		ev |= wait.Hup
	}
	if s.noRecv || s.peerNoSend {
		ev |= wait.In | wait.RdHup
	}
	if len(s.pending) > 0 || s.unread > 0 {
		ev |= wait.In
	}
	switch {
	case s.noSend:
	case s.state == idle, s.state == connected && (s.done || s.space() > 0 && !s.queued):
		ev |= wait.Out
	}
	return ev
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int) linux.Errno {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.state == idle || s.state == listening {
		return linux.ENOTCONN
	}
	s.shutdown(how != linux.SHUT_WR, how != linux.SHUT_RD)
	return 0
}

func (s *Socket) shutdown(recv, send bool) {
	s.noRecv, s.noSend = s.noRecv || recv, s.noSend || send
	if s.state == connected && !s.done {
		flags := uint32(0)
		if recv {
			flags |= shutReceive
		}
		if send {
			flags |= shutSend
		}
		s.send(opShutdown, flags)
	}
	s.Queue.Notify(wait.In | wait.Out | wait.RdHup | wait.Hup)
}

// closeTimeout is how long a closed connection waits for the peer to close its
// side, in nanoseconds (VSOCK_CLOSE_TIMEOUT).
const closeTimeout = 8e9

// Release implements file.File.
func (s *Socket) Release() {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.close()
}

func (s *Socket) close() {
	if s.released {
		return
	}
	s.released = true
	for _, c := range s.pending { // not accepted yet
		c.close()
	}
	s.pending = nil
	s.discard()
	switch {
	case s.state != connected || s.done:
		s.forget()
	case s.peerNoRecv && s.peerNoSend:
		s.send(opReset, 0)
		s.end()
	default:
		if !s.noRecv || !s.noSend {
			s.shutdown(true, true)
		}
		s.timer = platform.AfterFunc(closeTimeout, func() {
			s.n.mu.Lock()
			defer s.n.mu.Unlock()
			if !s.done {
				s.send(opReset, 0)
				s.end()
			}
		})
	}
}
