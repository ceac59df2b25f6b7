// Package unix is sockets of AF_UNIX (unix(7)): streams, datagrams and
// sequenced packets between the goroutines of the program, passing of open
// files and of credentials. It stands on package socket; pathname sockets are
// nodes of package vfs. Package sys links it into every image.
package unix

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/cred"
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// Register makes the family known to package socket.
func Register() {
	socket.Register(linux.AF_UNIX, socket.Family{New: newSocket, Pair: newPair})
}

// Socket is a socket of any type.
//
// A goroutine holds the lock of one socket at a time. The exception is
// connecting, which has a lock of its own.
type Socket struct {
	socket.Base

	// peer is the other end of a connection, or where datagrams go by
	// default. It stays when the peer is closed.
	peer atomic.Pointer[Socket]
	// unread is what was sent and not received yet, in bytes with overhead.
	unread   atomic.Int64
	sendSize atomic.Int64 // SO_SNDBUF: the limit on unread
	recvSize atomic.Int64 // SO_RCVBUF, which nothing depends on
	passCred atomic.Bool
	// creds are what SO_PEERCRED tells.
	creds atomic.Pointer[linux.Ucred]

	mu    sync.Mutex
	addr  []byte // own address, with the family; nil: unnamed
	bound name   // what addr stands for
	state state
	err   linux.Errno // for SO_ERROR and the next call
	// Directions that were shut down here or, for connections, there.
	noRecv, noSend bool
	queue          []*packet
	backlog        int       // of a listening socket
	pending        []*Socket // connections to accept
	blocked        map[*Socket]struct{}
	ints           map[int]int // options that are only remembered
}

type state int

const (
	unconnected state = iota
	listening
	connected
	closed
)

// packet is a message in the receive queue: what one call sent, or part of it.
type packet struct {
	data    []byte
	off     int // read from a stream so far
	addr    []byte
	files   []*file.Open
	creds   *linux.Ucred // of who sent it
	from    *Socket
	charged int64 // in from.unread
}

const (
	// defaultSize is net.core.wmem_default and rmem_default.
	defaultSize = 212992
	// overhead is what a message costs beside its data, so that empty ones
	// have a limit too.
	overhead = 512
	// maxQueued is net.unix.max_dgram_qlen.
	maxQueued = 10
)

// start are the credentials that the program has unless it changes them.
var start = linux.Ucred{PID: 1}

// self are the program's credentials, by its real ids or its effective ones.
func self(effective bool) *linux.Ucred {
	c := cred.Current()
	u := linux.Ucred{PID: 1, UID: c.UID.Real, GID: c.GID.Real}
	if effective {
		u.UID, u.GID = c.UID.Effective, c.GID.Effective
	}
	if u == start {
		return &start
	}
	return &u
}

// nobody are the credentials of the peer of a socket that has none.
var nobody = linux.Ucred{UID: ^uint32(0), GID: ^uint32(0)}

func newSocket(typ, proto int) (socket.Socket, linux.Errno) {
	s, errno := create(typ, proto)
	if errno != 0 {
		return nil, errno
	}
	return s, 0
}

func create(typ, proto int) (*Socket, linux.Errno) {
	if proto != 0 && proto != linux.AF_UNIX {
		return nil, linux.EPROTONOSUPPORT
	}
	switch typ {
	case linux.SOCK_STREAM, linux.SOCK_DGRAM, linux.SOCK_SEQPACKET:
	case linux.SOCK_RAW: // an old name for datagrams
		typ = linux.SOCK_DGRAM
	default:
		return nil, linux.ESOCKTNOSUPPORT
	}
	s := new(Socket)
	s.Init(linux.AF_UNIX, typ, 0)
	s.sendSize.Store(defaultSize)
	s.recvSize.Store(defaultSize)
	s.creds.Store(&nobody)
	return s, 0
}

func newPair(typ, proto int) (socket.Socket, socket.Socket, linux.Errno) {
	a, errno := create(typ, proto)
	if errno != 0 {
		return nil, nil, errno
	}
	b, errno := create(typ, proto)
	if errno != 0 {
		return nil, nil, errno
	}
	a.join(b)
	b.join(a)
	return a, b, 0
}

// join makes peer the other end of s, which nobody else knows yet.
func (s *Socket) join(peer *Socket) {
	s.peer.Store(peer)
	s.creds.Store(self(true))
	if s.connects() {
		s.state = connected
	}
}

// connects says whether the type has connections.
func (s *Socket) connects() bool { return s.Type() != linux.SOCK_DGRAM }

// writable says whether little enough is under way that a sender should be
// woken: a quarter of the buffer, as on Linux.
func (s *Socket) writable() bool { return s.unread.Load()*4 <= s.sendSize.Load() }

// Ready implements file.File.
func (s *Socket) Ready() wait.Events {
	var ev wait.Events
	s.mu.Lock()
	state := s.state
	if s.err != 0 {
		ev |= wait.Err
	}
	if s.noRecv {
		ev |= wait.In | wait.RdHup
	}
	if s.noRecv && s.noSend || s.connects() && (state == unconnected || state == closed) {
		ev |= wait.Hup
	}
	if len(s.queue) > 0 || len(s.pending) > 0 {
		ev |= wait.In
	}
	s.mu.Unlock()
	if state != listening && s.writable() {
		peer := s.peer.Load()
		if s.connects() || peer == nil || !peer.full(s) {
			ev |= wait.Out
		}
	}
	return ev
}

// full says whether datagram socket s takes no more from sender, who is then
// told when it does. Two that are connected to each other have no limit but
// the sender's buffer.
func (s *Socket) full(sender *Socket) bool {
	if s.peer.Load() == sender {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) <= maxQueued || s.state == closed {
		return false
	}
	s.block(sender)
	return true
}

// block has other told that there is room in s, whose lock is held.
func (s *Socket) block(other *Socket) {
	if s.blocked == nil {
		s.blocked = make(map[*Socket]struct{})
	}
	s.blocked[other] = struct{}{}
}

// unblock returns who waits for room in s, whose lock is held, for notifyAll.
func (s *Socket) unblock() map[*Socket]struct{} {
	b := s.blocked
	s.blocked = nil
	return b
}

func notifyAll(sockets map[*Socket]struct{}) {
	for s := range sockets {
		s.Queue.Notify(wait.Out)
	}
}

// Release implements file.File.
func (s *Socket) Release() {
	s.mu.Lock()
	if s.state == closed {
		s.mu.Unlock()
		return
	}
	was := s.state
	s.state = closed
	s.noRecv, s.noSend = true, true
	queue, pending, waiting := s.queue, s.pending, s.unblock()
	s.queue, s.pending = nil, nil
	bound := s.bound
	s.mu.Unlock()

	bound.forget(s)
	for _, p := range queue {
		p.discard()
	}
	for _, conn := range pending { // never accepted
		conn.hangUp(linux.ECONNRESET)
		conn.Release()
	}
	if was == connected {
		reset := linux.Errno(0)
		if len(queue) > 0 {
			reset = linux.ECONNRESET // somebody sent more than was read
		}
		s.hangUp(reset)
	}
	notifyAll(waiting)
	s.Queue.Notify(wait.In | wait.Out | wait.Hup)
}

// hangUp tells the peer that s is closed.
func (s *Socket) hangUp(errno linux.Errno) {
	peer := s.peer.Load()
	peer.mu.Lock()
	peer.noRecv, peer.noSend = true, true
	if peer.err == 0 {
		peer.err = errno
	}
	peer.mu.Unlock()
	peer.Queue.Notify(wait.In | wait.Out | wait.RdHup | wait.Hup)
}

// discard drops a packet that nobody will receive.
func (p *packet) discard() {
	for _, o := range p.files {
		o.Drop()
	}
	p.uncharge()
}

// uncharge gives the sender its room back.
func (p *packet) uncharge() {
	p.from.unread.Add(-p.charged)
	if p.from.writable() {
		p.from.Queue.Notify(wait.Out)
	}
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(how int) linux.Errno {
	recv, send := how != linux.SHUT_WR, how != linux.SHUT_RD
	s.shut(recv, send)
	if peer := s.peer.Load(); peer != nil && s.connects() {
		peer.shut(send, recv)
	}
	return 0
}

func (s *Socket) shut(recv, send bool) {
	s.mu.Lock()
	s.noRecv = s.noRecv || recv
	s.noSend = s.noSend || send
	waiting := s.unblock()
	s.mu.Unlock()
	s.Queue.Notify(wait.In | wait.Out | wait.RdHup | wait.Hup)
	notifyAll(waiting)
}

// takeError returns the pending error and clears it; s.mu is held.
func (s *Socket) takeError() linux.Errno {
	errno := s.err
	s.err = 0
	return errno
}
