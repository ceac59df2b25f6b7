package inet

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// datagram is a UDP socket, an ICMP echo socket or a raw socket.
type datagram struct {
	base
	to tcpip.FullAddress // destination of the message being sent; guarded by sendMu
	ip ipOptions
}

func newDatagram(domain, typ, proto int, ep tcpip.Endpoint, q *waiter.Queue) *datagram {
	s := new(datagram)
	s.init(domain, typ, proto, ep, q)
	return s
}

// Connect implements socket.Socket.
func (s *datagram) Connect(addr []byte) linux.Errno {
	if len(addr) < 2 {
		return linux.EINVAL
	}
	if family(addr) == linux.AF_UNSPEC {
		return errnoOf(s.ep.Disconnect())
	}
	full, errno := s.decode(addr)
	if errno != 0 {
		return errno
	}
	full = loopbackFor(s.domain, full)
	awaitAddress(full.Addr)
	return errnoOf(s.ep.Connect(full))
}

// Listen implements socket.Socket.
func (s *datagram) Listen(int) linux.Errno { return linux.EOPNOTSUPP }

// Accept implements socket.Socket.
func (s *datagram) Accept() (socket.Socket, linux.Errno) { return nil, linux.EOPNOTSUPP }

// Ready implements file.File.
func (s *datagram) Ready() wait.Events {
	ev := s.base.Ready()
	if s.ep.SocketOptions().PeekErr() != nil {
		ev |= wait.Err
	}
	return ev
}

// Read implements file.File.
func (s *datagram) Read(p []byte) (int, linux.Errno) {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	s.in.set(p)
	_, err := s.ep.Read(&s.in, tcpip.ReadOptions{})
	n := s.in.n
	s.in = payload{}
	return s.received(n, err)
}

// received converts the result of a read that copied n bytes of a datagram. A
// datagram longer than the program's buffers is truncated without an error.
func (s *datagram) received(n int, err tcpip.Error) (int, linux.Errno) {
	switch err.(type) {
	case nil, *tcpip.ErrBadBuffer:
		return n, 0
	}
	return 0, s.orDown(errnoOf(err))
}

// Recv implements socket.Socket.
func (s *datagram) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	if flags&linux.MSG_ERRQUEUE != 0 {
		return s.recvError(m)
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	s.in.setMessage(m)
	res, err := s.ep.Read(&s.in, tcpip.ReadOptions{Peek: flags&linux.MSG_PEEK != 0, NeedRemoteAddr: true})
	n := s.in.n
	s.in = payload{}
	n, errno := s.received(n, err)
	if errno != 0 || err != nil && res.Total == 0 {
		return 0, errno
	}
	if s.Type() != linux.SOCK_DGRAM || s.Protocol() != linux.IPPROTO_UDP {
		res.RemoteAddr.Port = 0
	}
	m.Addr = encode(m.Addr[:0], s.domain, res.RemoteAddr)
	s.control(m, &res.ControlMessages)
	if res.Total > n {
		m.Flags |= linux.MSG_TRUNC
		if flags&linux.MSG_TRUNC != 0 {
			n = res.Total
		}
	}
	return n, 0
}

// Write implements file.File.
func (s *datagram) Write(p []byte) (int, linux.Errno) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.out.set(p)
	return s.write(tcpip.WriteOptions{})
}

// write sends the contents of s.out, with s.sendMu held.
func (s *datagram) write(opts tcpip.WriteOptions) (int, linux.Errno) {
	n, err := s.ep.Write(&s.out, opts)
	s.out = payload{}
	switch err.(type) {
	case nil:
		return int(n), 0
	case *tcpip.ErrNoPortAvailable:
		return 0, linux.EAGAIN
	}
	return 0, errnoOf(err)
}

// Send implements socket.Socket.
func (s *datagram) Send(m *socket.Message, flags int) (int, linux.Errno) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	var opts tcpip.WriteOptions
	if len(m.Addr) > 0 && family(m.Addr) != linux.AF_UNSPEC {
		full, errno := s.decode(m.Addr)
		if errno != 0 {
			return 0, errno
		}
		s.to = loopbackFor(s.domain, full)
		awaitAddress(s.to.Addr)
		opts.To = &s.to
	}
	if errno := s.sendControl(m.Control, &opts); errno != 0 {
		return 0, errno
	}
	s.out.setMessage(m)
	return s.write(opts)
}

// Shutdown implements socket.Socket.
func (s *datagram) Shutdown(how int) linux.Errno {
	return errnoOf(s.ep.Shutdown(shutdownFlags(how)))
}

// Release implements file.File.
func (s *datagram) Release() {
	s.queue.EventUnregister(&s.entry)
	s.ep.Close()
}
