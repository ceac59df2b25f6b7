package inet

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// netlink is a socket of AF_NETLINK with protocol NETLINK_ROUTE (netlink(7),
// rtnetlink(7)). It answers queries for links, addresses and routes. It refuses
// changes, because the monitor configures the network.
type netlink struct {
	socket.Base
	kernelPeer
	mu      sync.Mutex
	port    uint32
	groups  uint32
	replies [][]byte // datagrams to be received, each with one or more messages
}

// kernelPeer has what sockets of AF_NETLINK share: the kernel is their only peer.
type kernelPeer struct{}

// Connect implements socket.Socket.
func (kernelPeer) Connect(addr []byte) linux.Errno {
	a, errno := socket.Get[linux.SockaddrNetlink](addr)
	if errno != 0 || a.Family != linux.AF_NETLINK {
		return linux.EINVAL
	}
	if a.PortID != 0 {
		return linux.ECONNREFUSED
	}
	return 0
}

// Listen implements socket.Socket.
func (kernelPeer) Listen(int) linux.Errno { return linux.EOPNOTSUPP }

// Accept implements socket.Socket.
func (kernelPeer) Accept() (socket.Socket, linux.Errno) { return nil, linux.EOPNOTSUPP }

// PeerAddr implements socket.Socket.
func (kernelPeer) PeerAddr() ([]byte, linux.Errno) {
	return appendValue(nil, &linux.SockaddrNetlink{Family: linux.AF_NETLINK}), 0
}

// Shutdown implements socket.Socket.
func (kernelPeer) Shutdown(int) linux.Errno { return linux.EOPNOTSUPP }

// nlPort is the last port ID. The first socket gets the process ID, 1.
var nlPort atomic.Uint32

// openNetlink is socket(2) of AF_NETLINK.
func openNetlink(typ, proto int) (socket.Socket, linux.Errno) {
	if typ != linux.SOCK_RAW && typ != linux.SOCK_DGRAM {
		return nil, linux.ESOCKTNOSUPPORT
	}
	if proto != linux.NETLINK_ROUTE {
		return nil, linux.EPROTONOSUPPORT
	}
	if sockets().Whole() {
		return newNsNetlink(typ, proto), 0
	}
	s := new(netlink)
	s.Init(linux.AF_NETLINK, typ, proto)
	return s, 0
}

// Bind implements socket.Socket.
func (s *netlink) Bind(addr []byte) linux.Errno {
	a, errno := socket.Get[linux.SockaddrNetlink](addr)
	if errno != 0 || a.Family != linux.AF_NETLINK {
		return linux.EINVAL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.PortID != 0 {
		s.port = a.PortID
	} else if s.port == 0 {
		s.port = nlPort.Add(1)
	}
	s.groups = a.Groups
	return 0
}

// LocalAddr implements socket.Socket.
func (s *netlink) LocalAddr() ([]byte, linux.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return appendValue(nil, &linux.SockaddrNetlink{Family: linux.AF_NETLINK, PortID: s.port, Groups: s.groups}), 0
}

// Ready implements file.File.
func (s *netlink) Ready() wait.Events {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.replies) > 0 {
		return wait.In | wait.Out
	}
	return wait.Out
}

// Write implements file.File.
func (s *netlink) Write(p []byte) (int, linux.Errno) {
	return s.Send(&socket.Message{Data: [][]byte{p}}, 0)
}

// Read implements file.File.
func (s *netlink) Read(p []byte) (int, linux.Errno) {
	return s.Recv(&socket.Message{Data: [][]byte{p}}, 0)
}

// Send implements socket.Socket. It answers each request in m.
func (s *netlink) Send(m *socket.Message, flags int) (int, linux.Errno) {
	if a, errno := socket.Get[linux.SockaddrNetlink](m.Addr); errno == 0 && a.PortID != 0 {
		return 0, linux.ECONNREFUSED
	}
	if m.Len() > nlMaxMessage {
		return 0, linux.EMSGSIZE
	}
	network()
	awaitAnyAddress()
	buf := make([]byte, m.Len())
	m.Gather(buf, 0)
	s.mu.Lock()
	if s.port == 0 {
		s.port = nlPort.Add(1)
	}
	for rest := buf; len(rest) >= nlHeaderLen; {
		h, _ := socket.Get[linux.NlMsghdr](rest)
		if int(h.Len) < nlHeaderLen || int(h.Len) > len(rest) {
			break
		}
		s.replies = append(s.replies, rtnetlink(h, rest[nlHeaderLen:h.Len], s.port)...)
		rest = rest[min(align4(int(h.Len)), len(rest)):]
	}
	s.mu.Unlock()
	s.Queue.Notify(wait.In)
	return len(buf), 0
}

// Recv implements socket.Socket.
func (s *netlink) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.replies) == 0 {
		return 0, linux.EAGAIN
	}
	reply := s.replies[0]
	n := m.Scatter(reply, 0)
	if flags&linux.MSG_PEEK == 0 {
		s.replies = s.replies[1:]
	}
	m.Addr = appendValue(m.Addr[:0], &linux.SockaddrNetlink{Family: linux.AF_NETLINK})
	return received(m, n, len(reply), flags), 0
}

// SetOption implements socket.Socket. A socket can join groups, but nothing is
// ever sent to them: links, addresses and routes are not reported as changed.
func (s *netlink) SetOption(level, name int, val []byte) linux.Errno {
	return netlinkOption(&s.Base, level, name, val)
}

// Option implements socket.Socket.
func (s *netlink) Option(level, name int, val []byte) (int, linux.Errno) {
	return readNetlinkOption(&s.Base, level, name, val)
}

// netlinkOption is setsockopt(2) of a netlink socket.
func netlinkOption(s *socket.Base, level, name int, val []byte) linux.Errno {
	switch {
	case level == linux.SOL_NETLINK,
		level == linux.SOL_SOCKET && (name == linux.SO_RCVBUF || name == linux.SO_SNDBUF || name == linux.SO_RCVBUFFORCE || name == linux.SO_SNDBUFFORCE):
		_, errno := socket.GetInt(val)
		return errno
	}
	return s.SetOption(level, name, val)
}

// readNetlinkOption is getsockopt(2) of a netlink socket.
func readNetlinkOption(s *socket.Base, level, name int, val []byte) (int, linux.Errno) {
	if level == linux.SOL_SOCKET {
		switch name {
		case linux.SO_ERROR:
			return socket.PutInt(val, 0), 0
		case linux.SO_RCVBUF, linux.SO_SNDBUF:
			return socket.PutInt(val, udpBufferDefault), 0
		}
	}
	return s.Option(level, name, val)
}

const nlHeaderLen = int(unsafe.Sizeof(linux.NlMsghdr{}))

// nlMaxMessage is the largest message in bytes that a netlink socket may send
// in Linux with the default net.core.wmem_default.
const nlMaxMessage = 212992 - 32

// align4 is NLMSG_ALIGN and RTA_ALIGN.
func align4(n int) int { return (n + 3) &^ 3 }
