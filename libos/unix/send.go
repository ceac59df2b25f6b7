package unix

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// maxChunk is the most bytes of a stream in one packet, so that room becomes
// free while the reader proceeds. minChunk is the smallest allocation for a
// packet, so that small writes share one.
const (
	maxChunk = 32 << 10
	minChunk = 512
)

// chunks are unused buffers of maxChunk bytes.
var chunks = sync.Pool{New: func() any { return new([maxChunk]byte) }}

// newChunk returns a buffer for n bytes of a stream. Large buffers are common,
// so they are reused. A small packet would waste most of one.
func newChunk(n int) []byte {
	if n > maxChunk/2 {
		return chunks.Get().(*[maxChunk]byte)[:n]
	}
	return make([]byte, n, max(n, minChunk))
}

// recycle makes a chunk reusable after its last use.
func recycle(data []byte) {
	if cap(data) == maxChunk {
		chunks.Put((*[maxChunk]byte)(data[:maxChunk]))
	}
}

// Write implements file.File.
func (s *Socket) Write(p []byte) (int, linux.Errno) {
	return s.Send(&socket.Message{Data: [][]byte{p}}, 0)
}

// Send implements socket.Socket.
func (s *Socket) Send(m *socket.Message, flags int) (int, linux.Errno) {
	creds, errno := credentials(m)
	if errno != 0 {
		return 0, errno
	}
	switch s.Type() {
	case linux.SOCK_STREAM:
		return s.sendStream(m, creds)
	case linux.SOCK_SEQPACKET:
		s.mu.Lock()
		ok := s.state == connected
		s.mu.Unlock()
		if !ok {
			return 0, linux.ENOTCONN
		}
	}
	if errno := s.maySend(m); errno != 0 {
		return 0, errno
	}
	if s.connects() {
		return s.sendPacket(s.peer.Load(), m, creds)
	}
	return s.sendDatagram(m, creds)
}

// maySend makes the checks on a packet that do not depend on the destination.
func (s *Socket) maySend(m *socket.Message) linux.Errno {
	if int64(m.Len()) > s.sendSize.Load()-32 {
		return linux.EMSGSIZE
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if errno := s.takeError(); errno != 0 {
		return errno
	}
	if s.noSend {
		return linux.EPIPE
	}
	return 0
}

// credentials returns the ones given by SCM_CREDENTIALS, or else the program's.
func credentials(m *socket.Message) (*linux.Ucred, linux.Errno) {
	creds := self(false)
	for _, c := range m.Control {
		if c.Level != linux.SOL_SOCKET {
			continue
		}
		if c.Type != linux.SCM_CREDENTIALS || len(c.Data) != int(unsafe.Sizeof(linux.Ucred{})) {
			return nil, linux.EINVAL
		}
		v, errno := socket.Get[linux.Ucred](c.Data)
		if errno == 0 {
			errno = mayGive(&v)
		}
		if errno != 0 {
			return nil, errno
		}
		creds = &v
	}
	return creds, 0
}

// mayGive checks the rules for SCM_CREDENTIALS (unix(7)).
func mayGive(u *linux.Ucred) linux.Errno {
	c := cred.Current()
	if u.PID != start.PID && !c.Has(linux.CAP_SYS_ADMIN) ||
		!c.UID.Includes(u.UID) && !c.Has(linux.CAP_SETUID) ||
		!c.GID.Includes(u.GID) && !c.Has(linux.CAP_SETGID) {
		return linux.EPERM
	}
	return 0
}

func (s *Socket) sendStream(m *socket.Message, creds *linux.Ucred) (int, linux.Errno) {
	s.mu.Lock()
	state, noSend := s.state, s.noSend
	s.mu.Unlock()
	switch {
	case len(m.Addr) > 0 && state == connected:
		return 0, linux.EISCONN
	case len(m.Addr) > 0:
		return 0, linux.EOPNOTSUPP
	case state != connected && state != closed:
		return 0, linux.ENOTCONN
	case noSend:
		return 0, linux.EPIPE
	}
	all, done := m.Len(), 0
	for done < all {
		if s.unread.Load() >= s.sendSize.Load() {
			break
		}
		n, errno := s.sendChunk(m, done, min(all-done, maxChunk), creds)
		if errno != 0 {
			if done > 0 {
				break
			}
			return 0, errno
		}
		done += n
		m.Files = nil // sent with the first chunk
	}
	if done == 0 && all > 0 {
		return 0, linux.EAGAIN
	}
	for _, o := range m.Files { // no byte was sent that could carry them
		o.Drop()
	}
	return done, 0
}

// sendChunk appends n bytes of m, from byte skip on, to the peer's queue.
func (s *Socket) sendChunk(m *socket.Message, skip, n int, creds *linux.Ucred) (int, linux.Errno) {
	peer := s.peer.Load()
	peer.mu.Lock()
	if peer.noRecv || peer.state == closed {
		peer.mu.Unlock()
		return 0, linux.EPIPE
	}
	charge := int64(n)
	if last := peer.last(); last != nil && last.files == nil && m.Files == nil && *last.creds == *creds &&
		cap(last.data)-len(last.data) >= n {
		end := len(last.data)
		last.data = last.data[:end+n]
		m.Gather(last.data[end:], skip)
		last.charged += charge
	} else {
		data := newChunk(n)
		m.Gather(data, skip)
		charge += overhead
		peer.queue = append(peer.queue, &packet{data: data, files: m.Files, creds: creds, from: s, charged: charge})
	}
	s.unread.Add(charge)
	peer.mu.Unlock()
	peer.Queue.Notify(wait.In)
	return n, 0
}

// last returns the newest packet of the queue, or nil.
func (s *Socket) last() *packet {
	if len(s.queue) == 0 {
		return nil
	}
	return s.queue[len(s.queue)-1]
}

func (s *Socket) sendDatagram(m *socket.Message, creds *linux.Ucred) (int, linux.Errno) {
	peer := s.peer.Load()
	if len(m.Addr) > 0 {
		var errno linux.Errno
		if peer, errno = find(m.Addr, s.Type()); errno != 0 {
			return 0, errno
		}
	}
	if peer == nil {
		return 0, linux.ENOTCONN
	}
	if s.passCred.Load() {
		if errno := s.autobind(); errno != 0 {
			return 0, errno
		}
	}
	if !peer.acceptsFrom(s) {
		return 0, linux.EPERM
	}
	n, errno := s.sendPacket(peer, m, creds)
	if errno == linux.ECONNREFUSED && len(m.Addr) == 0 && s.peer.CompareAndSwap(peer, nil) {
		s.dissolved(peer)
	}
	return n, errno
}

// sendPacket appends all of m to peer's queue.
func (s *Socket) sendPacket(peer *Socket, m *socket.Message, creds *linux.Ucred) (int, linux.Errno) {
	if s.unread.Load() >= s.sendSize.Load() {
		return 0, linux.EAGAIN
	}
	s.mu.Lock()
	addr := s.addr
	s.mu.Unlock()
	mutual := peer.peer.Load() == s
	peer.mu.Lock()
	switch {
	case peer.state == closed && !s.connects():
		peer.mu.Unlock()
		return 0, linux.ECONNREFUSED
	case peer.noRecv:
		peer.mu.Unlock()
		return 0, linux.EPIPE
	case !mutual && len(peer.queue) > maxQueued:
		peer.block(s)
		peer.mu.Unlock()
		return 0, linux.EAGAIN
	}
	data := make([]byte, m.Len())
	n := m.Gather(data, 0)
	charge := int64(n) + overhead
	peer.queue = append(peer.queue, &packet{data: data, addr: addr, files: m.Files, creds: creds, from: s, charged: charge})
	s.unread.Add(charge)
	peer.mu.Unlock()
	peer.Queue.Notify(wait.In)
	return n, 0
}
