package inet

import (
	"encoding/binary"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/sys/call"
	"github.com/pith-os/pith/libos/wait"
)

// nsDatagram is a UDP or ping socket of a network namespace of the host.
type nsDatagram struct {
	nsSocket
	// Guarded by passed.mu, for relayed sockets:
	reached   map[string]bool // destinations that can be reached
	connected bool
}

func newNsDatagram(domain, proto int) *nsDatagram {
	s := new(nsDatagram)
	if proto == 0 {
		proto = linux.IPPROTO_UDP
	}
	s.init(domain, linux.SOCK_DGRAM, proto)
	return s
}

// Connect implements socket.Socket.
func (s *nsDatagram) Connect(addr []byte) linux.Errno {
	peer, errno := peerOf(addr)
	if errno != 0 {
		return errno
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.handle.Load() != 0:
	case family(peer) == linux.AF_UNSPEC && s.host.Load() == nil:
		return 0
	case family(peer) == linux.AF_UNSPEC:
		// The monitor has no copy of this one. The next use makes a new one.
		s.replace(nil)
		return 0
	case sockets() == boot.SocketsChecked:
		// The peer is checked, and there is no other. So the socket is the image's.
		_, errno = s.make(0, peer)
		return errno
	default:
		_, errno = s.make(monitor().handle(), peer)
		return errno
	}
	errno = s.operate(boot.SocketRequest{Op: boot.SocketConnect, Peer: peer})
	if errno == 0 {
		s.connected = family(peer) != linux.AF_UNSPEC
	}
	return errno
}

// Listen implements socket.Socket.
func (s *nsDatagram) Listen(int) linux.Errno { return linux.EOPNOTSUPP }

// Accept implements socket.Socket.
func (s *nsDatagram) Accept() (socket.Socket, linux.Errno) { return nil, linux.EOPNOTSUPP }

// Write implements file.File.
func (s *nsDatagram) Write(p []byte) (int, linux.Errno) {
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	if s.relayed() {
		return s.sendRelayed(h, &socket.Message{Data: [][]byte{p}})
	}
	return s.wrote(h.Send(p, 0))
}

// Read implements file.File.
func (s *nsDatagram) Read(p []byte) (int, linux.Errno) {
	if s.relayed() {
		return s.Recv(&socket.Message{Data: [][]byte{p}}, 0)
	}
	return s.nsSocket.Read(p)
}

// Send implements socket.Socket.
func (s *nsDatagram) Send(m *socket.Message, flags int) (int, linux.Errno) {
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	if s.relayed() {
		return s.sendRelayed(h, m)
	}
	if len(m.Addr) > 0 && sockets() == boot.SocketsChecked {
		return 0, linux.EISCONN // the filter permits no address here
	}
	data := m.Data
	if len(data) > platform.MaxBuffers {
		one := make([]byte, min(m.Len(), maxDatagram+1))
		m.Gather(one, 0)
		data = [][]byte{one}
	}
	if len(m.Control) == 0 && len(data) == 1 {
		return s.wrote(h.SendTo(data[0], m.Addr, flags&linux.MSG_MORE))
	}
	if sockets() == boot.SocketsChecked {
		return s.wrote(h.Writev(data))
	}
	return s.wrote(h.SendMessage(data, m.Addr, appendControl(nil, m.Control), flags&linux.MSG_MORE))
}

// Recv implements socket.Socket.
func (s *nsDatagram) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	h, errno := s.open()
	if errno != 0 {
		return 0, errno
	}
	if s.relayed() {
		return s.recvRelayed(h, m, flags)
	}
	if flags&linux.MSG_ERRQUEUE == 0 {
		if errno := s.takeFailed(); errno != 0 {
			return 0, errno
		}
	}
	data := m.Data
	if len(data) > platform.MaxBuffers {
		data = [][]byte{make([]byte, min(m.Len(), maxDatagram))}
	}
	var addr [linux.SockaddrMax]byte
	var control [maxControl]byte
	r, errno := h.RecvMessage(data, addr[:], control[:], flags&(linux.MSG_PEEK|linux.MSG_TRUNC|linux.MSG_ERRQUEUE))
	if errno != 0 {
		return 0, errno
	}
	if len(m.Data) > platform.MaxBuffers {
		m.Scatter(data[0][:min(r.N, len(data[0]))], 0)
	}
	m.Addr = append(m.Addr[:0], addr[:r.Addr]...)
	m.Control = readControl(m.Control, control[:r.Control])
	m.Flags |= r.Flags & (linux.MSG_TRUNC | linux.MSG_CTRUNC | linux.MSG_ERRQUEUE)
	return r.N, 0
}

// Ioctl implements file.File.
func (s *nsDatagram) Ioctl(req uint, arg uintptr) (uintptr, linux.Errno) {
	r, errno := s.nsSocket.Ioctl(req, arg)
	if errno == 0 && req == linux.FIONREAD && s.relayed() {
		if n, errno := call.At[int32](arg); errno == 0 {
			*n = max(*n-boot.DatagramHeader, 0)
		}
	}
	return r, errno
}

// Ready implements file.File.
func (s *nsDatagram) Ready() wait.Events {
	if h := s.host.Load(); h != nil {
		return s.hostReady(h)
	}
	return wait.Out
}

// maxControl is room for the control messages of a datagram that a program may have enabled.
const maxControl = 512

// cmsgHeader is the size of struct cmsghdr (cmsg(3)).
const cmsgHeader = 16

// align8 is CMSG_ALIGN.
func align8(n int) int { return (n + 7) &^ 7 }

// appendControl encodes control messages (cmsg(3)).
func appendControl(b []byte, list []socket.Control) []byte {
	for _, c := range list {
		b = binary.NativeEndian.AppendUint64(b, uint64(cmsgHeader+len(c.Data)))
		b = binary.NativeEndian.AppendUint32(b, uint32(c.Level))
		b = binary.NativeEndian.AppendUint32(b, uint32(c.Type))
		b = append(b, c.Data...)
		b = append(b, make([]byte, align8(len(b))-len(b))...)
	}
	return b
}

// readControl decodes the control messages of the host.
func readControl(list []socket.Control, b []byte) []socket.Control {
	for len(b) >= cmsgHeader {
		n := binary.NativeEndian.Uint64(b)
		if n < cmsgHeader || n > uint64(len(b)) {
			break
		}
		list = append(list, socket.Control{
			Level: int(int32(binary.NativeEndian.Uint32(b[8:]))), Type: int(int32(binary.NativeEndian.Uint32(b[12:]))),
			Data: append([]byte(nil), b[cmsgHeader:n]...),
		})
		b = b[min(align8(int(n)), len(b)):]
	}
	return list
}
