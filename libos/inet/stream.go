package inet

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// stream is a TCP socket.
type stream struct {
	base
	published atomic.Pointer[port] // set while the socket listens on a published port
	shutRead  atomic.Bool          // shutdown(2) has ended reading
	reported  atomic.Bool          // the program got the error that ended the connection
	tcp       tcpOptions
}

func newStream(domain int, ep tcpip.Endpoint, q *waiter.Queue) *stream {
	s := new(stream)
	s.init(domain, linux.SOCK_STREAM, linux.IPPROTO_TCP, ep, q)
	return s
}

// state returns the endpoint's state, in the terms of RFC 9293.
func (s *stream) state() tcp.EndpointState { return tcp.EndpointState(s.ep.State()) }

// busy reports whether the socket listens, is connected, or was.
func (s *stream) busy() bool {
	state := s.state()
	return state != tcp.StateInitial && state != tcp.StateBound
}

// streamOf returns the stack's TCP socket of an open file, or nil.
func streamOf(f file.File) *stream {
	switch s := f.(type) {
	case *stream:
		return s
	case *hostStream:
		if in := s.inside.Load(); in != nil {
			return in.tableSocket.(*stream)
		}
	}
	return nil
}

// Bind implements socket.Socket.
func (s *stream) Bind(addr []byte) linux.Errno {
	full, errno := s.decode(addr)
	if errno == 0 && s.state() == tcp.StateInitial && s.taken(full) {
		return linux.EADDRINUSE
	}
	return s.base.Bind(addr)
}

// taken reports whether another socket listens on a local address that overlaps
// at, the address for s. SO_REUSEADDR lets sockets share a port, but not with a
// listening socket (socket(7)). The stack also shares it between a wildcard and
// a specific address, so it does not detect this.
func (s *stream) taken(at tcpip.FullAddress) bool {
	if a := unmapped(at.Addr); at.Port == 0 || a.Len() != 0 && network().CheckLocalAddress(at.NIC, protocolOf(a), a) == 0 {
		return false
	}
	found := false
	call.Files.Each(func(_ int, f file.File) {
		o := streamOf(f)
		if o == nil || o == s || o.state() != tcp.StateListen {
			return
		}
		local, _ := o.addresses()
		shared := s.ep.SocketOptions().GetReusePort() && o.ep.SocketOptions().GetReusePort()
		if local.Port == at.Port && !shared && s.overlaps(at.Addr, o, local.Addr) {
			found = true
		}
	})
	return found
}

// overlaps reports whether address a of s and address b of o have an address in
// common.
func (s *stream) overlaps(a tcpip.Address, o *stream, b tcpip.Address) bool {
	a4, a6 := s.families(a)
	b4, b6 := o.families(b)
	return (a4 && b4 || a6 && b6) && (a.Len() == 0 || b.Len() == 0 || unmapped(a) == unmapped(b))
}

// families reports which of IPv4 and IPv6 address a of s covers. The IPv6
// wildcard covers both, unless the socket is IPV6_V6ONLY.
func (s *stream) families(a tcpip.Address) (v4, v6 bool) {
	if a.Len() != 0 {
		v4 = unmapped(a).Len() == header.IPv4AddressSize
		return v4, !v4
	}
	v6 = s.domain == linux.AF_INET6
	return !v6 || !s.ep.SocketOptions().GetV6Only(), v6
}

// Connect implements socket.Socket.
func (s *stream) Connect(addr []byte) linux.Errno {
	if len(addr) < 2 {
		return linux.EINVAL
	}
	if family(addr) == linux.AF_UNSPEC {
		return s.disconnect()
	}
	if s.domain == linux.AF_INET6 && family(addr) == linux.AF_INET {
		if len(addr) < inet6LenNoZone {
			return linux.EINVAL
		}
		return linux.EAFNOSUPPORT
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
	full = loopbackFor(s.domain, full)
	awaitAddress(full.Addr)
	return errnoOf(s.ep.Connect(full))
}

// disconnect is connect(2) with AF_UNSPEC. It resets the connection. In Linux
// the socket can then be used again; the stack's endpoints cannot.
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
	if local, _ := s.addresses(); s.state() == tcp.StateBound && s.taken(local) {
		return linux.EADDRINUSE
	}
	// Linux queues one connection more than backlog.
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
	if p := s.published.Load(); p != nil {
		if c, errno := p.accept(s); errno != linux.EAGAIN {
			if errno != 0 {
				return nil, errno
			}
			return c, 0
		}
	}
	ep, q, err := s.ep.Accept(nil)
	if err != nil {
		return nil, s.orDown(errnoOf(err))
	}
	c := newStream(s.domain, ep, q)
	c.tcp.inherit(&s.tcp)
	return c, 0
}

// Ready implements file.File.
func (s *stream) Ready() wait.Events {
	const closed = wait.In | wait.Out | wait.Hup | wait.RdHup
	received, sent := s.shutRead.Load(), false // whether each direction has ended
	switch s.state() {
	case tcp.StateInitial, tcp.StateBound:
		return wait.Out | wait.Hup
	case tcp.StateListen:
		if p := s.published.Load(); p != nil && p.ready.Load() {
			return wait.In
		}
		return s.base.Ready()
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return 0
	case tcp.StateClose, tcp.StateTimeWait:
		return closed
	case tcp.StateError:
		if s.reported.Load() {
			return closed
		}
		return closed | wait.Err
	case tcp.StateFinWait1, tcp.StateFinWait2:
		sent = true
	case tcp.StateCloseWait:
		received = true
	case tcp.StateClosing, tcp.StateLastAck:
		received, sent = true, true
	}
	ev := s.base.Ready() & (wait.In | wait.Out)
	if received {
		ev |= wait.RdHup
		if sent {
			ev |= wait.Hup
		}
	}
	return ev
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

// takeError is SO_ERROR.
func (s *stream) takeError() linux.Errno {
	err := s.ep.LastError()
	if err != nil {
		s.errorReported()
	}
	return errnoOf(err)
}

// errorReported records that the program got the error that ended the
// connection. The stack keeps such an error in two places and returns it twice,
// so errorReported clears the second.
func (s *stream) errorReported() {
	if s.state() == tcp.StateError {
		s.ep.LastError()
		s.reported.Store(true)
	}
}

// recvErrno is errnoOf for recv(2).
func (s *stream) recvErrno(err tcpip.Error) linux.Errno {
	switch err.(type) {
	case *tcpip.ErrInvalidEndpointState:
		return linux.ENOTCONN
	case *tcpip.ErrWouldBlock:
		return linux.EAGAIN
	}
	s.errorReported()
	return errnoOf(err)
}

// Write implements file.File.
func (s *stream) Write(p []byte) (int, linux.Errno) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.out.set(p)
	return s.write()
}

// write sends the contents of s.out, with s.sendMu held.
func (s *stream) write() (int, linux.Errno) {
	n, err := s.ep.Write(&s.out, tcpip.WriteOptions{})
	s.out = payload{}
	switch err.(type) {
	case nil:
		return int(n), 0
	case *tcpip.ErrWouldBlock:
		return 0, linux.EAGAIN
	}
	s.errorReported()
	return 0, errnoOf(err)
}

// Send implements socket.Socket. As in Linux, it ignores the destination on a
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
	switch s.state() {
	case tcp.StateInitial, tcp.StateBound, tcp.StateClose, tcp.StateError:
		return linux.ENOTCONN
	case tcp.StateListen:
		if how == linux.SHUT_WR {
			return 0
		}
		s.unpublish()
	}
	if how != linux.SHUT_WR {
		s.shutRead.Store(true)
	}
	return errnoOf(s.ep.Shutdown(shutdownFlags(how)))
}

// Release implements file.File. With SO_LINGER of zero, the stack resets the
// connection. Otherwise it sends the remaining data in the background.
func (s *stream) Release() {
	s.unpublish()
	s.queue.EventUnregister(&s.entry)
	switch s.state() {
	case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateFinWait2:
		closed().bound(network())
	}
	s.ep.Close()
}
