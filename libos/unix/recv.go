package unix

import (
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
)

// Read implements file.File. Unlike recv(2), a read of 0 bytes consumes
// nothing.
func (s *Socket) Read(p []byte) (int, linux.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	m := socket.Message{Data: [][]byte{p}}
	n, errno := s.Recv(&m, 0)
	for _, o := range m.Files { // read(2) cannot return files
		o.Drop()
	}
	return n, errno
}

// Recv implements socket.Socket.
func (s *Socket) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	if flags&linux.MSG_ERRQUEUE != 0 {
		return 0, linux.EAGAIN // the error queue is always empty
	}
	if s.Type() == linux.SOCK_STREAM {
		return s.recvStream(m, flags)
	}
	return s.recvPacket(m, flags)
}

// empty returns the result of receiving from an empty queue, with the lock of s
// held.
func (s *Socket) empty() linux.Errno {
	if errno := s.takeError(); errno != 0 {
		return errno
	}
	if s.noRecv && (s.connects() || s.Flags()&linux.O_NONBLOCK == 0) {
		return 0
	}
	return linux.EAGAIN // a socket without connections has no end of file
}

func (s *Socket) recvPacket(m *socket.Message, flags int) (int, linux.Errno) {
	s.mu.Lock()
	if s.connects() && s.state == unconnected {
		s.mu.Unlock()
		return 0, linux.ENOTCONN
	}
	if len(s.queue) == 0 || s.err != 0 { // an error comes before queued data
		errno := s.empty()
		s.mu.Unlock()
		return 0, errno
	}
	p := s.queue[0]
	n := m.Scatter(p.data, 0)
	if n < len(p.data) {
		m.Flags |= linux.MSG_TRUNC
	}
	if flags&linux.MSG_TRUNC != 0 {
		n = len(p.data)
	}
	m.Addr = append(m.Addr[:0], p.addr...)
	s.receiveCreds(m, p)
	if flags&linux.MSG_PEEK != 0 {
		m.Files = append(m.Files, p.peekFiles()...)
		s.mu.Unlock()
		return n, 0
	}
	m.Files = append(m.Files, p.files...)
	s.dequeue()
	waiting := s.unblock()
	s.mu.Unlock()
	p.uncharge()
	notifyAll(waiting)
	return n, 0
}

// recvStream reads bytes from as many packets as needed. It stops after a
// packet with files, so that files stay with their bytes.
func (s *Socket) recvStream(m *socket.Message, flags int) (int, linux.Errno) {
	peek := flags&linux.MSG_PEEK != 0
	room := m.Len()
	s.mu.Lock()
	if s.state != connected {
		s.mu.Unlock()
		return 0, linux.EINVAL
	}
	if len(s.queue) == 0 {
		errno := s.empty()
		s.mu.Unlock()
		return 0, errno
	}
	var done []*packet
	var creds *linux.Ucred // of the first packet, and thus of all
	n := 0
	for i := 0; i < len(s.queue) && n < room; {
		p := s.queue[i]
		if n == 0 {
			creds = p.creds
			s.receiveCreds(m, p)
		} else if s.passCred.Load() && *p.creds != *creds {
			break
		}
		c := m.Scatter(p.data[p.off:], n)
		n += c
		hasFiles := len(p.files) > 0
		if peek {
			m.Files = append(m.Files, p.peekFiles()...)
			i++
		} else {
			m.Files = append(m.Files, p.files...)
			p.files = nil
			if p.off += c; p.off == len(p.data) {
				s.dequeue()
				done = append(done, p)
			}
		}
		if hasFiles {
			break
		}
	}
	s.mu.Unlock()
	for _, p := range done {
		p.uncharge()
		recycle(p.data)
	}
	if len(m.Addr) == 0 {
		if sa := s.peer.Load().localAddr(); len(sa) > familySize {
			m.Addr = append(m.Addr, sa...)
		}
	}
	return n, 0
}

// dequeue removes the first packet.
func (s *Socket) dequeue() {
	s.queue[0] = nil
	s.queue = s.queue[1:]
}

// peekFiles returns additional references to the packet's files.
func (p *packet) peekFiles() []*file.Open {
	files := make([]*file.Open, 0, len(p.files))
	for _, o := range p.files {
		files = append(files, o.Hold())
	}
	return files
}

// receiveCreds adds the sender's credentials if SO_PASSCRED is set.
func (s *Socket) receiveCreds(m *socket.Message, p *packet) {
	if !s.passCred.Load() {
		return
	}
	data := make([]byte, unsafe.Sizeof(linux.Ucred{}))
	socket.Put(data, *p.creds)
	m.Control = append(m.Control, socket.Control{
		Level: linux.SOL_SOCKET, Type: linux.SCM_CREDENTIALS, Data: data,
	})
}
