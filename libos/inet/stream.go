package inet

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// stream is a TCP socket.
type stream struct {
	base
	published atomic.Pointer[listener] // set while it listens on a published port
	tcp       tcpOptions
}

func newStream(domain int, ep tcpip.Endpoint, q *waiter.Queue) *stream {
	s := new(stream)
	s.init(domain, linux.SOCK_STREAM, linux.IPPROTO_TCP, ep, q)
	return s
}

// state is the endpoint's, in RFC 9293's terms.
func (s *stream) state() tcp.EndpointState { return tcp.EndpointState(s.ep.State()) }

// Connect implements socket.Socket.
func (s *stream) Connect(addr []byte) linux.Errno {
	if len(addr) < 2 {
		return linux.EINVAL
	}
	if family(addr) == linux.AF_UNSPEC {
		return s.disconnect()
	}
	full, errno := s.decode(addr)
	if errno != 0 {
		return errno
	}
	switch state := s.state(); {
	case state == tcp.StateListen:
		return linux.EISCONN
	case state == tcp.StateSynSent:
		return linux.EALREADY
	}
	return errnoOf(s.ep.Connect(loopbackFor(s.domain, full)))
}

// disconnect is connect(2) with AF_UNSPEC: the connection is reset and the
// socket could be used again. The stack's endpoints cannot.
func (s *stream) disconnect() linux.Errno {
	switch s.state() {
	case tcp.StateInitial, tcp.StateBound:
		return 0
	}
	return errnoOf(s.ep.Disconnect())
}

// Listen implements socket.Socket.
func (s *stream) Listen(backlog int) linux.Errno {
	switch state := s.state(); state {
	case tcp.StateInitial, tcp.StateBound, tcp.StateListen:
	default:
		return linux.EINVAL
	}
	if backlog < 0 || backlog > linux.SOMAXCONN {
		backlog = linux.SOMAXCONN
	}
	if s.state() == tcp.StateInitial {
		// Linux binds to a free port.
		if errno := bindErrno(s.ep.Bind(tcpip.FullAddress{})); errno != 0 {
			return errno
		}
	}
	// Linux lets one connection more than backlog wait.
	if errno := errnoOf(s.ep.Listen(backlog + 1)); errno != 0 {
		return errno
	}
	return s.publish(backlog + 1)
}

// Accept implements socket.Socket.
func (s *stream) Accept() (socket.Socket, linux.Errno) {
	if s.state() != tcp.StateListen {
		return nil, linux.EINVAL
	}
	if l := s.published.Load(); l != nil {
		if c := l.accept(); c != nil {
			return c, 0
		}
	}
	ep, q, err := s.ep.Accept(nil)
	if err != nil {
		return nil, errnoOf(err)
	}
	c := newStream(s.domain, ep, q)
	c.tcp.inherit(&s.tcp)
	return c, 0
}

// Ready implements file.File.
func (s *stream) Ready() wait.Events {
	if l := s.published.Load(); l != nil && l.ready() {
		return wait.In
	}
	switch s.state() {
	case tcp.StateInitial, tcp.StateBound:
		return wait.Out | wait.Hup
	}
	ev := s.base.Ready()
	if ev&wait.RdHup != 0 && s.sendClosed() {
		ev |= wait.Hup
	}
	return ev
}

// sendClosed says whether a FIN was sent.
func (s *stream) sendClosed() bool {
	switch s.state() {
	case tcp.StateFinWait1, tcp.StateFinWait2, tcp.StateClosing, tcp.StateLastAck, tcp.StateTimeWait, tcp.StateClose, tcp.StateError:
		return true
	}
	return false
}

// Read implements file.File.
func (s *stream) Read(p []byte) (int, linux.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	s.in.set(p)
	return s.read(false)
}

// read reads into s.in, with s.recvMu held.
func (s *stream) read(peek bool) (int, linux.Errno) {
	_, err := s.ep.Read(&s.in, tcpip.ReadOptions{Peek: peek})
	n := s.in.n
	s.in = payload{}
	if err != nil {
		return 0, s.recvErrno(err)
	}
	if !peek {
		s.ep.ModerateRecvBuf(n)
	}
	return n, 0
}

// recvErrno is errnoOf for recv(2).
func (s *stream) recvErrno(err tcpip.Error) linux.Errno {
	switch err.(type) {
	case *tcpip.ErrInvalidEndpointState:
		return linux.ENOTCONN
	case *tcpip.ErrNotConnected:
		if s.state() == tcp.StateTimeWait {
			return 0
		}
	}
	return errnoOf(err)
}

// Write implements file.File.
func (s *stream) Write(p []byte) (int, linux.Errno) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.out.set(p)
	return s.write()
}

// write sends what s.out has, with s.sendMu held.
func (s *stream) write() (int, linux.Errno) {
	n, err := s.ep.Write(&s.out, tcpip.WriteOptions{})
	s.out = payload{}
	if err != nil {
		return 0, errnoOf(err)
	}
	return int(n), 0
}

// Send implements socket.Socket. As Linux, it ignores the destination of a
// connected socket.
func (s *stream) Send(m *socket.Message, flags int) (int, linux.Errno) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.out.setMessage(m)
	return s.write()
}

// Recv implements socket.Socket.
func (s *stream) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	if flags&linux.MSG_ERRQUEUE != 0 {
		return 0, linux.EAGAIN
	}
	if m.Len() == 0 {
		return 0, 0
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if flags&linux.MSG_TRUNC != 0 {
		return s.discard(m.Len())
	}
	s.in.setMessage(m)
	return s.read(flags&linux.MSG_PEEK != 0)
}

// discard is MSG_TRUNC for a stream (tcp(7)): it drops at most max bytes.
func (s *stream) discard(max int) (int, linux.Errno) {
	s.in.set(make([]byte, min(max, tcpBufferDefault)))
	return s.read(false)
}

// Shutdown implements socket.Socket.
func (s *stream) Shutdown(how int) linux.Errno {
	var flags tcpip.ShutdownFlags
	if how != linux.SHUT_WR {
		flags |= tcpip.ShutdownRead
	}
	if how != linux.SHUT_RD {
		flags |= tcpip.ShutdownWrite
	}
	switch s.state() {
	case tcp.StateInitial, tcp.StateBound, tcp.StateClose, tcp.StateError:
		return linux.ENOTCONN
	case tcp.StateListen:
		if how == linux.SHUT_WR {
			return 0
		}
		s.unpublish()
	}
	return errnoOf(s.ep.Shutdown(flags))
}

// Release implements file.File. With SO_LINGER of zero the stack resets the
// connection; otherwise it sends what is left in the background.
func (s *stream) Release() {
	s.unpublish()
	s.queue.EventUnregister(&s.entry)
	s.ep.Close()
}
