package inet

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// base is the common part of sockets over an endpoint of the stack.
type base struct {
	socket.Base
	domain int
	ep     tcpip.Endpoint
	queue  *waiter.Queue // the endpoint's queue
	entry  waiter.Entry  // passes the endpoint's events on to Base.Queue
	groups groups
	down   atomic.Bool // the device has ended, and the program has not been told yet

	sendMu sync.Mutex
	out    payload
	recvMu sync.Mutex
	in     payload
}

func (s *base) init(domain, typ, proto int, ep tcpip.Endpoint, q *waiter.Queue) {
	s.Base.Init(domain, typ, proto)
	s.domain, s.ep, s.queue = domain, ep, q
	s.entry.Init(s, waiter.AllEvents)
	q.EventRegister(&s.entry)
}

// NotifyEvent implements waiter.EventListener. The stack's events have the
// values of poll(2). The stack does not distinguish the end of a stream from
// data, so a readable socket may also have ended.
func (s *base) NotifyEvent(mask waiter.EventMask) {
	ev := wait.Events(mask) & (wait.In | wait.Pri | wait.Out | wait.Err | wait.Hup | wait.RdHup)
	if ev&wait.In != 0 {
		ev |= wait.RdHup
	}
	s.Queue.Notify(ev)
}

// Ready implements file.File.
func (s *base) Ready() wait.Events {
	ev := wait.Events(s.ep.Readiness(waiter.AllEvents)) & (wait.In | wait.Pri | wait.Out | wait.Err | wait.Hup | wait.RdHup)
	if s.down.Load() {
		ev |= wait.In | wait.Err
	}
	return ev
}

// LocalAddr implements socket.Socket.
func (s *base) LocalAddr() ([]byte, linux.Errno) {
	full, err := s.ep.GetLocalAddress()
	if err != nil {
		return nil, errnoOf(err)
	}
	return encode(nil, s.domain, full), 0
}

// PeerAddr implements socket.Socket.
func (s *base) PeerAddr() ([]byte, linux.Errno) {
	full, err := s.ep.GetRemoteAddress()
	if err != nil {
		return nil, linux.ENOTCONN
	}
	return encode(nil, s.domain, full), 0
}

// Bind implements socket.Socket.
func (s *base) Bind(addr []byte) linux.Errno {
	// Linux accepts AF_UNSPEC with the unspecified address for AF_INET.
	if s.domain == linux.AF_INET && family(addr) == linux.AF_UNSPEC && len(addr) >= inet4Len && [4]byte(addr[4:8]) == [4]byte{} {
		addr = append([]byte{linux.AF_INET, 0}, addr[2:]...)
	}
	if s.domain == linux.AF_INET6 && family(addr) != linux.AF_INET6 && len(addr) >= inet6LenNoZone {
		return linux.EAFNOSUPPORT
	}
	if s.domain == linux.AF_INET6 && family(addr) != linux.AF_INET6 {
		return linux.EINVAL
	}
	full, errno := s.decode(addr)
	switch errno {
	case 0:
		awaitAddress(full.Addr)
		errno = bindErrno(s.ep.Bind(full))
		// A non-local address is reported before the socket's being bound already.
		if a := unmapped(full.Addr); errno == linux.EINVAL && a.Len() != 0 && network().CheckLocalAddress(full.NIC, protocolOf(a), a) == 0 {
			return linux.EADDRNOTAVAIL
		}
		return errno
	case linux.ENETUNREACH:
		return linux.EINVAL
	}
	return errno
}

// bindErrno is errnoOf for bind(2), which returns EADDRINUSE when all ports are
// taken.
func bindErrno(err tcpip.Error) linux.Errno {
	if _, ok := err.(*tcpip.ErrNoPortAvailable); ok {
		return linux.EADDRINUSE
	}
	return errnoOf(err)
}

// shutdownFlags returns the directions that shutdown(2) closes.
func shutdownFlags(how int) (flags tcpip.ShutdownFlags) {
	if how != linux.SHUT_WR {
		flags |= tcpip.ShutdownRead
	}
	if how != linux.SHUT_RD {
		flags |= tcpip.ShutdownWrite
	}
	return flags
}

// decode is the function decode for this socket's domain. An IPV6_V6ONLY socket
// cannot reach IPv4.
func (s *base) decode(addr []byte) (tcpip.FullAddress, linux.Errno) {
	full, errno := decode(s.domain, addr)
	if errno == 0 && s.domain == linux.AF_INET6 && s.ep.SocketOptions().GetV6Only() && unmapped(full.Addr) != full.Addr {
		return full, linux.ENETUNREACH
	}
	return full, errno
}

// payload is the program's memory that the stack reads and writes: one buffer,
// or those of a message. It is a field of its socket, so passing it as an
// interface does not allocate.
type payload struct {
	one []byte
	msg *socket.Message
	len int
	n   int // bytes done so far
}

func (p *payload) set(one []byte) { *p = payload{one: one, len: len(one)} }

func (p *payload) setMessage(m *socket.Message) {
	if len(m.Data) == 1 {
		p.set(m.Data[0])
	} else {
		*p = payload{msg: m, len: m.Len()}
	}
}

// Write implements io.Writer: the stack passes b to the program. Bytes for
// which there is no room stay in the stack.
func (p *payload) Write(b []byte) (int, error) {
	var n int
	if p.msg != nil {
		n = p.msg.Scatter(b, p.n)
	} else {
		n = copy(p.one[p.n:], b)
	}
	p.n += n
	if n < len(b) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// Read implements tcpip.Payloader: the program passes bytes to the stack.
func (p *payload) Read(b []byte) (int, error) {
	var n int
	if p.msg != nil {
		n = p.msg.Gather(b, p.n)
	} else {
		n = copy(b, p.one[p.n:])
	}
	p.n += n
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Len implements tcpip.Payloader.
func (p *payload) Len() int { return p.len - p.n }
