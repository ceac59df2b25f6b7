package inet

import (
	"encoding/binary"
	"sync"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// nsNetlink is a socket of NETLINK_ROUTE whose messages the monitor relays to and from the
// host's kernel, for the interfaces, addresses and routes of a network namespace. Queries
// pass. Changes are refused: an image has no capability of the host's.
type nsNetlink struct {
	passed
	kernelPeer
	opening sync.Mutex // guards the fields below, and the making of the host's socket
	port    uint32     // of the monitor's socket, which the kernel answers
	groups  uint32
	refused [][]byte // answers to refused requests, to be received
}

func newNsNetlink(typ, proto int) *nsNetlink {
	s := new(nsNetlink)
	s.init(linux.AF_NETLINK, typ, proto)
	return s
}

// open returns the monitor's end, with s.opening held.
func (s *nsNetlink) open() (*platform.Host, linux.Errno) {
	if h := s.host.Load(); h != nil {
		return h, 0
	}
	h, errno := monitor().ask(&boot.SocketRequest{
		Op: boot.SocketOpen, Domain: linux.AF_NETLINK, Type: linux.SOCK_DGRAM, Protocol: uint8(s.Protocol()),
		Peer: appendValue(nil, &linux.SockaddrNetlink{Family: linux.AF_NETLINK, Groups: s.groups}),
	})
	if errno != 0 {
		return nil, errno
	}
	// The first message is the port.
	var port [4]byte
	for {
		if _, errno = h.Recv(port[:], 0); errno != linux.EAGAIN {
			break
		}
		if errno = h.Wait(platform.Readable); errno != 0 {
			break
		}
	}
	if errno != 0 {
		h.Close()
		return nil, linux.ENETDOWN
	}
	s.port = binary.NativeEndian.Uint32(port[:])
	s.mu.Lock()
	s.replace(h)
	s.mu.Unlock()
	return h, 0
}

// Bind implements socket.Socket. The kernel has chosen the port already.
func (s *nsNetlink) Bind(addr []byte) linux.Errno {
	a, errno := socket.Get[linux.SockaddrNetlink](addr)
	if errno != 0 || a.Family != linux.AF_NETLINK {
		return linux.EINVAL
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.host.Load() != nil && a.Groups == s.groups {
		return 0
	}
	s.mu.Lock()
	s.replace(nil)
	s.mu.Unlock()
	s.groups = a.Groups
	_, errno = s.open()
	return errno
}

// LocalAddr implements socket.Socket.
func (s *nsNetlink) LocalAddr() ([]byte, linux.Errno) {
	s.opening.Lock()
	defer s.opening.Unlock()
	return appendValue(nil, &linux.SockaddrNetlink{Family: linux.AF_NETLINK, PortID: s.port, Groups: s.groups}), 0
}

// Ready implements file.File.
func (s *nsNetlink) Ready() wait.Events {
	s.opening.Lock()
	defer s.opening.Unlock()
	ev := wait.Events(wait.Out)
	if len(s.refused) > 0 {
		ev |= wait.In
	}
	if h := s.host.Load(); h != nil {
		ev |= s.hostReady(h)
	}
	return ev
}

// Write implements file.File.
func (s *nsNetlink) Write(p []byte) (int, linux.Errno) {
	return s.Send(&socket.Message{Data: [][]byte{p}}, 0)
}

// Read implements file.File.
func (s *nsNetlink) Read(p []byte) (int, linux.Errno) {
	return s.Recv(&socket.Message{Data: [][]byte{p}}, 0)
}

// Send implements socket.Socket.
func (s *nsNetlink) Send(m *socket.Message, flags int) (int, linux.Errno) {
	if a, errno := socket.Get[linux.SockaddrNetlink](m.Addr); errno == 0 && a.PortID != 0 {
		return 0, linux.ECONNREFUSED
	}
	if m.Len() > nlMaxQuery {
		return 0, linux.EMSGSIZE
	}
	buf := make([]byte, m.Len())
	m.Gather(buf, 0)
	s.opening.Lock()
	defer s.opening.Unlock()
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	pass := buf[:0:0]
	for rest := buf; len(rest) >= nlHeaderLen; {
		r, _ := socket.Get[linux.NlMsghdr](rest)
		if int(r.Len) < nlHeaderLen || int(r.Len) > len(rest) {
			break
		}
		switch {
		case r.Type < linux.RTM_NEWLINK:
			s.refused = append(s.refused, ack(r, s.port, 0)...)
		case r.Type&3 != linux.RTM_GETLINK&3:
			s.refused = append(s.refused, ack(r, s.port, linux.EPERM)...)
		default:
			pass = append(pass, rest[:min(align4(int(r.Len)), len(rest))]...)
		}
		rest = rest[min(align4(int(r.Len)), len(rest)):]
	}
	if len(s.refused) > 0 {
		s.Queue.Notify(wait.In)
	}
	if len(pass) > 0 {
		if _, errno := h.Send(pass, 0); errno != 0 {
			return 0, errno
		}
	}
	return len(buf), 0
}

// nlMaxQuery is the longest request in bytes that the monitor takes.
const nlMaxQuery = 32 << 10

// Recv implements socket.Socket.
func (s *nsNetlink) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	s.opening.Lock()
	defer s.opening.Unlock()
	m.Addr = appendValue(m.Addr[:0], &linux.SockaddrNetlink{Family: linux.AF_NETLINK})
	if len(s.refused) > 0 {
		reply := s.refused[0]
		if flags&linux.MSG_PEEK == 0 {
			s.refused = s.refused[1:]
		}
		return received(m, m.Scatter(reply, 0), len(reply), flags), 0
	}
	h := s.host.Load()
	if h == nil {
		return 0, linux.EAGAIN
	}
	buf, size := []byte(nil), m.Len()
	if len(m.Data) == 1 {
		buf = m.Data[0]
	} else {
		buf = make([]byte, size)
	}
	n, errno := h.Recv(buf, flags&linux.MSG_PEEK|linux.MSG_TRUNC)
	if errno != 0 {
		return 0, errno
	}
	if len(m.Data) != 1 {
		m.Scatter(buf[:min(n, size)], 0)
	}
	return received(m, min(n, size), n, flags), 0
}

// received returns the result of recvmsg(2) for a datagram of size bytes, of which n fit.
func received(m *socket.Message, n, size, flags int) int {
	if n < size {
		m.Flags |= linux.MSG_TRUNC
		if flags&linux.MSG_TRUNC != 0 {
			return size
		}
	}
	return n
}

// SetOption implements socket.Socket.
func (s *nsNetlink) SetOption(level, name int, val []byte) linux.Errno {
	return netlinkOption(&s.Base, level, name, val)
}

// Option implements socket.Socket.
func (s *nsNetlink) Option(level, name int, val []byte) (int, linux.Errno) {
	return readNetlinkOption(&s.Base, level, name, val)
}

// Release implements file.File.
func (s *nsNetlink) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.host.Load(); h != nil {
		h.Close()
	}
}
