package inet

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
)

// nsSocket is the common part of nsStream and nsDatagram: a socket of a program whose
// network is a network namespace of the host (boot.SocketMode.Whole). It is a socket of the
// host from the first call on that needs one. Until then only options are recorded, so a
// program that dials asks the monitor once.
//
// The image does what its filter permits on the descriptor. For the rest it names the
// monitor's copy by its handle.
type nsSocket struct {
	passed
	handle atomic.Uint32 // of the monitor's copy; 0: there is none
	bound  []byte        // the address that the program has bound; guarded by passed.mu
}

// open returns the host's socket, which it makes if there is none.
func (s *nsSocket) open() (*platform.Host, linux.Errno) {
	if h := s.host.Load(); h != nil {
		return h, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.host.Load(); h != nil {
		return h, 0
	}
	return s.make(monitor().handle(), nil)
}

// make makes the host's socket, with s.mu held, and starts to connect it unless peer is
// empty. Without a handle the monitor keeps no copy.
func (s *nsSocket) make(handle uint32, peer []byte) (*platform.Host, linux.Errno) {
	h, errno := monitor().ask(&boot.SocketRequest{
		Op: boot.SocketOpen, Handle: handle, Domain: uint8(s.domain), Type: uint8(s.Type()), Protocol: uint8(s.Protocol()),
		Peer: peer, Options: s.options.list(nil),
	})
	if errno != 0 {
		return nil, errno
	}
	s.drop()
	s.handle.Store(handle)
	s.replace(h)
	return h, 0
}

// operate asks the monitor for an operation on its copy.
func (s *nsSocket) operate(r boot.SocketRequest) linux.Errno {
	r.Handle = s.handle.Load()
	_, errno := monitor().ask(&r)
	return errno
}

// drop has the monitor close its copy.
func (s *nsSocket) drop() {
	if s.handle.Load() == 0 {
		return
	}
	// An error means that the monitor is gone, and the instance ends with it.
	_ = s.operate(boot.SocketRequest{Op: boot.SocketClose})
	s.handle.Store(0)
}

// Bind implements socket.Socket.
func (s *nsSocket) Bind(addr []byte) linux.Errno {
	if len(addr) > boot.SocketAddrMax {
		addr = addr[:boot.SocketAddrMax]
	}
	if _, errno := s.open(); errno != 0 {
		return errno
	}
	if s.handle.Load() == 0 {
		return linux.EINVAL // a connection
	}
	errno := s.operate(boot.SocketRequest{Op: boot.SocketBind, Peer: addr})
	if errno == 0 {
		s.mu.Lock()
		s.bound = append([]byte(nil), addr...)
		s.mu.Unlock()
	}
	return errno
}

// relayed reports whether the host's socket is not the image's own (nsrelay.go).
func (s *nsSocket) relayed() bool {
	return s.Type() == linux.SOCK_DGRAM && sockets() == boot.SocketsChecked && s.handle.Load() != 0
}

// peerOf returns the address of connect(2) for the monitor.
func peerOf(addr []byte) ([]byte, linux.Errno) {
	if len(addr) < 2 {
		return nil, linux.EINVAL
	}
	return addr[:min(len(addr), boot.SocketAddrMax)], 0
}

// LocalAddr implements socket.Socket.
func (s *nsSocket) LocalAddr() ([]byte, linux.Errno) { return s.name(false) }

// PeerAddr implements socket.Socket.
func (s *nsSocket) PeerAddr() ([]byte, linux.Errno) {
	if s.host.Load() == nil {
		return nil, linux.ENOTCONN
	}
	return s.name(true)
}

func (s *nsSocket) name(peer bool) ([]byte, linux.Errno) {
	h, errno := s.open()
	if errno != 0 {
		return nil, errno
	}
	var name [linux.SockaddrMax]byte
	var n int
	switch {
	case !s.relayed():
		n, errno = h.Name(peer, name[:])
	case peer:
		n, errno = monitor().read(&boot.SocketRequest{Op: boot.SocketPeer, Handle: s.handle.Load()}, name[:])
	default:
		n, errno = monitor().read(&boot.SocketRequest{Op: boot.SocketName, Handle: s.handle.Load()}, name[:])
	}
	return name[:n], errno
}

// Shutdown implements socket.Socket.
func (s *nsSocket) Shutdown(how int) linux.Errno {
	h := s.host.Load()
	if h == nil {
		return linux.ENOTCONN
	}
	return h.Shutdown(how)
}

// Read implements file.File.
func (s *nsSocket) Read(p []byte) (int, linux.Errno) {
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	if errno := s.takeFailed(); errno != 0 {
		return 0, errno
	}
	return h.Read(p)
}

// recordable reports whether the host's socket takes an option without fail, so that it can
// have it later.
func (s *nsSocket) recordable(level, name int) bool {
	switch {
	case level == linux.SOL_TCP:
		return s.Type() == linux.SOCK_STREAM && name != linux.TCP_FASTOPEN
	case level == linux.SOL_SOCKET:
		return name != linux.SO_MARK && name != linux.SO_PRIORITY && name != linux.SO_BUSY_POLL && name != linux.SO_INCOMING_CPU
	}
	return true
}

// SetOption implements socket.Socket.
func (s *nsSocket) SetOption(level, name int, val []byte) linux.Errno {
	if s.host.Load() == nil && s.recordable(level, name) {
		if known, errno := s.options.set(s.domain, level, name, val); known {
			return errno
		}
	}
	if errno := s.Base.SetOption(level, name, val); errno != linux.ENOPROTOOPT {
		return errno
	}
	h, errno := s.open()
	if errno != 0 {
		return errno
	}
	_, direct := boot.Passed(level, name)
	switch {
	case direct && !s.relayed():
		errno = h.SetOption(level, name, val)
	case s.handle.Load() != 0:
		val := val[:min(len(val), boot.SocketOptionMax)]
		errno = s.operate(boot.SocketRequest{Op: boot.SocketSet, Options: []boot.SocketOption{{Level: uint32(level), Name: uint32(name), Value: val}}})
	case !s.recordable(level, name):
		errno = linux.EPERM
	default:
		// Nobody can set it on a connection any more. The program reads back what it
		// has set.
		known, errno := s.options.set(s.domain, level, name, val)
		if !known {
			return linux.ENOPROTOOPT
		}
		return errno
	}
	if errno == 0 {
		_, _ = s.options.set(s.domain, level, name, val) // for a later socket, and for lingers
	}
	return errno
}

// Option implements socket.Socket.
func (s *nsSocket) Option(level, name int, val []byte) (int, linux.Errno) {
	if level == linux.SOL_SOCKET && name == linux.SO_ERROR {
		if errno := s.takeFailed(); errno != 0 {
			return socket.PutInt(val, int(errno)), 0
		}
	}
	h := s.host.Load()
	if h == nil && s.recordable(level, name) {
		if n, known := s.options.get(s.domain, level, name, val); known {
			return n, 0
		}
	}
	if n, errno := s.Base.Option(level, name, val); errno != linux.ENOPROTOOPT {
		return n, errno
	}
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	if read, _ := boot.Passed(level, name); read && !s.relayed() {
		return h.Option(level, name, val)
	}
	if handle := s.handle.Load(); handle != 0 {
		room := make([]byte, min(len(val), boot.SocketOptionMax))
		return monitor().read(&boot.SocketRequest{
			Op: boot.SocketGet, Handle: handle, Options: []boot.SocketOption{{Level: uint32(level), Name: uint32(name), Value: room}},
		}, val)
	}
	if n, known := s.options.get(s.domain, level, name, val); known {
		return n, 0
	}
	return 0, linux.ENOPROTOOPT
}

// Ioctl implements file.File.
func (s *nsSocket) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	if req != linux.FIONREAD {
		return interfaceIoctl(req, arg)
	}
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	return 0, unread(h, arg)
}

// Release implements file.File.
func (s *nsSocket) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.host.Load(); h != nil {
		s.close(h)
	}
	s.drop()
}

// nsInterface is interfaceIoctl for the interfaces of the namespace.
func nsInterface(req uint, arg uintptr) linux.Errno {
	r, errno := call.At[ifreq](arg)
	if errno != 0 {
		return errno
	}
	var out [40]byte
	if _, errno = monitor().read(&boot.SocketRequest{
		Op: boot.SocketInterface, Options: []boot.SocketOption{{Name: uint32(req), Value: appendValue(nil, r)}},
	}, out[:]); errno != 0 {
		return errno
	}
	copy(r.Name[:], out[:])
	copy(r.Value[:], out[len(r.Name):])
	return 0
}
