package vsock

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// stream is the data of a connection, in both directions.
type stream struct {
	chunks [][]byte // received and not yet read
	unread int      // bytes in chunks

	limit, minLimit, maxLimit uint32 // SO_VM_SOCKETS_BUFFER_SIZE and its bounds
	ceiling                   uint32 // bound on unread: the largest limit so far

	// Credit (virtio 1.2 §5.10.6.3), in bytes modulo 1<<32. taken counts received
	// bytes that the program has read, and advertised is the last value of taken
	// sent to the peer. sent counts bytes sent. peerAlloc and peerTaken are the
	// peer's buffer space and its taken.
	taken, advertised    uint32
	sent                 uint32
	peerAlloc, peerTaken uint32
}

const (
	// defaultBuffer and leastBuffer are VIRTIO_VSOCK_DEFAULT_BUF_SIZE and
	// VSOCK_DEFAULT_BUFFER_MIN_SIZE.
	defaultBuffer = 256 << 10
	leastBuffer   = 128
	// chunkSize is the smallest allocation in bytes; small packets share it.
	chunkSize = 4 << 10
)

// space returns how many bytes the peer has room for.
func (s *Socket) space() uint32 {
	inFlight := s.sent - s.peerTaken
	if inFlight > s.peerAlloc {
		return 0
	}
	return s.peerAlloc - inFlight
}

// header returns the header of a packet of the connection.
func (s *Socket) header(op uint16, flags uint32) Header {
	s.advertised = s.taken
	return Header{
		SrcCID: uint64(s.n.link.CID()), SrcPort: s.local.port, DstCID: uint64(s.remote.cid), DstPort: s.remote.port,
		Type: typeStream, Op: op, Flags: flags, BufAlloc: s.limit, FwdCnt: s.taken,
	}
}

// send sends a packet without data.
func (s *Socket) send(op uint16, flags uint32) {
	h := s.header(op, flags)
	s.n.control(&h)
}

// receive handles a packet of the connection.
func (s *Socket) receive(h *Header, data []byte) {
	had := s.space()
	s.peerAlloc, s.peerTaken = h.BufAlloc, h.FwdCnt
	if s.state == connecting {
		s.answered(h)
		return
	}
	switch h.Op {
	case opData:
		s.receiveData(data)
	case opCreditRequest:
		s.send(opCreditUpdate, 0)
	case opShutdown:
		s.peerShutdown(h.Flags)
	case opReset:
		s.end()
	}
	if had == 0 && s.space() > 0 {
		s.Queue.Notify(wait.Out)
	}
}

// answered handles the reply to a connect.
func (s *Socket) answered(h *Header) {
	switch h.Op {
	case opResponse:
		s.timer.Stop()
		s.timer = nil
		s.state = connected
		s.Queue.Notify(wait.Out)
	case opReset:
		s.fail(linux.ECONNRESET)
	default:
		s.send(opReset, 0)
		s.fail(linux.EPROTO)
	}
}

func (s *Socket) peerShutdown(flags uint32) {
	s.peerNoRecv = s.peerNoRecv || flags&shutReceive != 0
	s.peerNoSend = s.peerNoSend || flags&shutSend != 0
	if s.peerNoRecv && s.peerNoSend && s.unread == 0 {
		// Nothing is left to do; the reset confirms that.
		s.send(opReset, 0)
		s.end()
		return
	}
	s.Queue.Notify(wait.In | wait.Out | wait.RdHup | wait.Hup)
}

func (s *Socket) receiveData(data []byte) {
	switch {
	case s.released, len(data) == 0:
		return
	case s.unread+len(data) > int(s.ceiling):
		s.send(opReset, 0)
		s.fail(linux.ECONNRESET)
		return
	}
	s.unread += len(data)
	if i := len(s.chunks) - 1; i >= 0 && cap(s.chunks[i])-len(s.chunks[i]) >= len(data) {
		s.chunks[i] = append(s.chunks[i], data...)
	} else {
		s.chunks = append(s.chunks, append(make([]byte, 0, max(len(data), chunkSize)), data...))
	}
	s.Queue.Notify(wait.In)
}

// discard drops the received data.
func (s *Socket) discard() { s.chunks, s.unread = nil, 0 }

// Read implements file.File.
func (s *Socket) Read(p []byte) (int, linux.Errno) {
	return s.Recv(&socket.Message{Data: [][]byte{p}}, 0)
}

// Recv implements socket.Socket.
func (s *Socket) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch {
	case s.state != connected:
		return 0, linux.ENOTCONN
	case flags&linux.MSG_ERRQUEUE != 0:
		return 0, linux.EAGAIN
	case s.noRecv || m.Len() == 0:
		return 0, 0
	case s.unread > 0:
		return s.take(m, flags&linux.MSG_PEEK == 0), 0
	case s.err != 0:
		return 0, s.takeError()
	case s.peerNoSend:
		return 0, 0
	}
	return 0, linux.EAGAIN
}

// take copies received data to m. It removes them if consume is set.
func (s *Socket) take(m *socket.Message, consume bool) int {
	n, room := 0, m.Len()
	for i := 0; i < len(s.chunks) && n < room; {
		c := s.chunks[i]
		done := m.Scatter(c, n)
		n += done
		switch {
		case !consume:
			i++
		case done == len(c):
			s.chunks[i] = nil
			s.chunks = s.chunks[1:]
		default:
			s.chunks[i] = c[done:]
		}
	}
	if consume {
		s.unread -= n
		s.taken += uint32(n)
		s.updateCredit()
	}
	return n
}

// updateCredit tells the peer about free room, if the peer does not know about
// a good part of it.
func (s *Socket) updateCredit() {
	if !s.done && s.taken-s.advertised >= s.limit/4 {
		s.send(opCreditUpdate, 0)
	}
}

// Write implements file.File.
func (s *Socket) Write(p []byte) (int, linux.Errno) {
	return s.Send(&socket.Message{Data: [][]byte{p}}, 0)
}

// Send implements socket.Socket.
func (s *Socket) Send(m *socket.Message, flags int) (int, linux.Errno) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	switch {
	case len(m.Addr) > 0 && s.state == connected:
		return 0, linux.EISCONN
	case len(m.Addr) > 0:
		return 0, linux.EOPNOTSUPP
	case s.noSend || s.peerNoRecv:
		return 0, linux.EPIPE
	case s.state != connected:
		return 0, linux.ENOTCONN
	}
	all, n := m.Len(), 0
	for n < all {
		part := min(all-n, int(s.space()), s.n.link.MaxData())
		if part == 0 || !s.sendData(m, n, part) {
			break
		}
		n += part
	}
	if n == 0 && all > 0 {
		return 0, linux.EAGAIN
	}
	return n, 0
}

// sendData sends n bytes of m, from byte skip on. It returns false when the
// link has no room; the socket is then woken when it has.
func (s *Socket) sendData(m *socket.Message, skip, n int) bool {
	advertised := s.advertised
	h := s.header(opData, 0)
	h.Len = uint32(n)
	if len(s.n.owed) == 0 && s.n.link.Send(&h, func(p []byte) { m.Gather(p, skip) }) {
		s.sent += uint32(n)
		return true
	}
	s.advertised = advertised
	if !s.queued {
		s.queued = true
		s.n.queued = append(s.n.queued, s)
	}
	return false
}

// takeError returns the pending error and clears it.
func (s *Socket) takeError() linux.Errno {
	errno := s.err
	s.err = 0
	return errno
}
