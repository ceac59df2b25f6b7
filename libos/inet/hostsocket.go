package inet

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// hostSocket is the common part of hostStream and hostDatagram: a socket of a
// confined process. At first nobody knows which network it will use. When the
// program connects it to an address outside, the monitor passes a socket of the
// host. Anything else is within the image: listening, and connections to the
// program's own addresses. Then, and not before, there is a socket of the stack.
type hostSocket struct {
	passed
	inside atomic.Pointer[stackSocket] // the stack's socket; nil: none yet

	// The fields below, and changes of inside, are guarded by passed.mu.
	peer    tcpip.FullAddress
	bound   uint16            // port that the program has bound; 0: none
	forward wait.Entry        // passes the events of inside on to Queue
	local   tcpip.FullAddress // of an accepted connection
}

// stackSocket is a socket of the stack.
type stackSocket struct{ tableSocket }

// tableSocket is a socket that appears in the tables of /proc/net.
type tableSocket interface {
	socket.Socket
	tableState() (domain int, local, peer tcpip.FullAddress, state int)
}

func (s *hostSocket) init(domain, typ, proto int) {
	s.passed.init(domain, typ, proto)
	s.forward.Notify = func(ev wait.Events) { s.Queue.Notify(ev) }
}

// within returns the stack's socket, which it makes if there is none.
func (s *hostSocket) within() tableSocket {
	if in := s.inside.Load(); in != nil {
		return in.tableSocket
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.inside.Load(); in != nil {
		return in.tableSocket
	}
	made, errno := openStack(s.domain, s.Type(), s.Protocol())
	if errno != 0 {
		panic("inet: the stack makes no socket: " + errno.Name()) // it makes those that open accepts
	}
	for _, o := range s.options.list(nil) {
		// The stack knows what hostOptions knows.
		made.SetOption(int(int32(o.Level)), int(int32(o.Name)), o.Value)
	}
	made.Watch().Register(&s.forward, wait.In|wait.Pri|wait.Out|wait.RdHup)
	s.inside.Store(&stackSocket{made})
	return made
}

// isInside reports whether an address is the program's own.
func isInside(full tcpip.FullAddress) bool {
	a := unmapped(full.Addr)
	if a.Len() == 0 || a == header.IPv4Any || header.IsV4LoopbackAddress(a) || a == header.IPv6Loopback {
		return true
	}
	own := ownAddresses()
	return a == own.addr4 || a == own.addr6 || a == own.linkLocal
}

// dial asks the monitor for a socket that is connected, or about to be, to an
// address outside.
func (s *hostSocket) dial(addr []byte, full tcpip.FullAddress) linux.Errno {
	host, errno := monitor().ask(&boot.SocketRequest{
		Op: boot.SocketOpen, Domain: uint8(s.domain), Type: uint8(s.Type()),
		Peer: addr[:min(len(addr), boot.SocketAddrMax)], Options: s.options.list(nil),
	})
	if errno != 0 {
		return errno
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = full
	s.replace(host)
	return 0
}

// Read implements file.File.
func (s *hostSocket) Read(p []byte) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return s.within().Read(p)
	}
	if errno := s.takeFailed(); errno != 0 {
		return 0, errno
	}
	return h.Read(p)
}

// SetOption implements socket.Socket.
func (s *hostSocket) SetOption(level, name int, val []byte) linux.Errno {
	h := s.host.Load()
	known, errno := s.options.set(s.domain, level, name, val)
	switch {
	case known && errno != 0:
		return errno
	case known:
		if in := s.inside.Load(); in != nil {
			errno = in.SetOption(level, name, val)
		}
		if h != nil {
			errno = setPassed(h, level, name, val)
		}
		return errno
	}
	if errno := s.Base.SetOption(level, name, val); errno != linux.ENOPROTOOPT || h != nil {
		return errno
	}
	return s.within().SetOption(level, name, val)
}

// setPassed sets an option of the host's socket, if an image may. It is not an
// error if that is no TCP or no IPv6 socket: the monitor itself is then the peer,
// or the host has no IPv6.
func setPassed(h *platform.Host, level, name int, val []byte) linux.Errno {
	if _, set := boot.Passed(level, name); !set {
		return 0
	}
	errno := h.SetOption(level, name, val)
	if errno == linux.ENOPROTOOPT || errno == linux.EOPNOTSUPP {
		return 0
	}
	return errno
}

// Option implements socket.Socket.
func (s *hostSocket) Option(level, name int, val []byte) (int, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		if in := s.inside.Load(); in != nil {
			return in.Option(level, name, val)
		}
		if n, ok := s.options.get(s.domain, level, name, val); ok {
			return n, 0
		}
		if level == linux.SOL_SOCKET && (name == linux.SO_ERROR || name == linux.SO_ACCEPTCONN) {
			return socket.PutInt(val, 0), 0
		}
		if n, errno := s.Base.Option(level, name, val); errno == 0 {
			return n, 0
		}
		return s.within().Option(level, name, val)
	}
	if level == linux.SOL_SOCKET && name == linux.SO_ERROR {
		if errno := s.takeFailed(); errno != 0 {
			return socket.PutInt(val, int(errno)), 0
		}
	}
	if read, _ := boot.Passed(level, name); read {
		if n, errno := h.Option(level, name, val); errno == 0 {
			return n, 0
		}
	}
	if n, ok := s.options.get(s.domain, level, name, val); ok {
		return n, 0
	}
	if level == linux.SOL_SOCKET && name == linux.SO_ACCEPTCONN {
		return socket.PutInt(val, 0), 0
	}
	return s.Base.Option(level, name, val)
}

// Bind implements socket.Socket.
func (s *hostSocket) Bind(addr []byte) linux.Errno {
	if s.host.Load() != nil {
		return linux.EINVAL
	}
	in := s.within()
	errno := in.Bind(addr)
	if errno == 0 {
		_, local, _, _ := in.tableState()
		s.mu.Lock()
		s.bound = local.Port
		s.mu.Unlock()
	}
	return errno
}

// LocalAddr implements socket.Socket.
func (s *hostSocket) LocalAddr() ([]byte, linux.Errno) {
	if h := s.host.Load(); h != nil {
		return encode(nil, s.domain, s.hostLocal(h)), 0
	}
	if in := s.inside.Load(); in != nil {
		return in.LocalAddr()
	}
	return encode(nil, s.domain, tcpip.FullAddress{}), 0
}

// hostLocal returns the local address that the program sees.
func (s *hostSocket) hostLocal(h *platform.Host) tcpip.FullAddress {
	s.mu.Lock()
	full, peer := tcpip.FullAddress{Port: s.bound}, unmapped(s.peer.Addr)
	local := s.local
	s.mu.Unlock()
	if local.Port != 0 {
		return local
	}
	full.Addr = ownAddresses().addr4
	if peer.Len() == 16 {
		full.Addr = ownAddresses().addr6
	}
	if full.Port == 0 {
		var name [linux.SockaddrMax]byte
		if n, errno := h.Name(false, name[:]); errno == 0 && n >= 4 {
			full.Port = uint16(name[2])<<8 | uint16(name[3])
		}
	}
	return full
}

// PeerAddr implements socket.Socket.
func (s *hostSocket) PeerAddr() ([]byte, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		if in := s.inside.Load(); in != nil {
			return in.PeerAddr()
		}
		return nil, linux.ENOTCONN
	}
	var name [linux.SockaddrMax]byte
	if _, errno := h.Name(true, name[:]); errno != 0 {
		return nil, errno
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return encode(nil, s.domain, s.peer), 0
}

// Shutdown implements socket.Socket.
func (s *hostSocket) Shutdown(how int) linux.Errno {
	if h := s.host.Load(); h != nil {
		return h.Shutdown(how)
	}
	return s.within().Shutdown(how)
}

// Listen implements socket.Socket.
func (s *hostSocket) Listen(backlog int) linux.Errno {
	if s.host.Load() != nil {
		return linux.EINVAL
	}
	return s.within().Listen(backlog)
}

// Accept implements socket.Socket.
func (s *hostSocket) Accept() (socket.Socket, linux.Errno) {
	if in := s.inside.Load(); in != nil {
		return in.Accept()
	}
	if s.Type() != linux.SOCK_STREAM {
		return nil, linux.EOPNOTSUPP
	}
	return nil, linux.EINVAL
}

// Ioctl implements file.File.
func (s *hostSocket) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	h := s.host.Load()
	if h == nil {
		return s.within().Ioctl(req, arg)
	}
	if req != linux.FIONREAD {
		return interfaceIoctl(req, arg)
	}
	return 0, unread(h, arg)
}

// Release implements file.File.
func (s *hostSocket) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.host.Load(); h != nil {
		s.close(h)
	}
	if in := s.inside.Load(); in != nil {
		in.Watch().Unregister(&s.forward)
		in.Release()
	}
}

// tableState implements tableEntry.
func (s *hostSocket) tableState() (int, tcpip.FullAddress, tcpip.FullAddress, int) {
	h := s.host.Load()
	if h == nil {
		if in := s.inside.Load(); in != nil {
			return in.tableState()
		}
		return s.domain, tcpip.FullAddress{}, tcpip.FullAddress{}, linux.TCP_CLOSE
	}
	s.mu.Lock()
	peer := s.peer
	s.mu.Unlock()
	state := linux.TCP_ESTABLISHED
	if s.Type() == linux.SOCK_STREAM {
		state = hostState(h)
	}
	return s.domain, s.hostLocal(h), peer, state
}
