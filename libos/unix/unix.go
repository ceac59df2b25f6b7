// Package unix has sockets of AF_UNIX (unix(7)): streams, datagrams and
// sequenced packets between the goroutines of the program. They can pass open
// files and credentials. The package stands on package socket. Pathname sockets
// are nodes of package vfs. Package sys links package unix into every image.
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

// Register registers the address family with package socket.
func Register() {
	socket.Register(linux.AF_UNIX, socket.Family{New: newSocket, Pair: newPair})
}

// Socket is a socket of any type.
//
// A goroutine holds the lock of one socket at a time, except in Connect, which
// has a lock of its own for that.
type Socket struct {
	socket.Base

	// peer is the other end of a connection, or the default destination of
	// datagrams. It stays set when the peer is closed.
	peer atomic.Pointer[Socket]
	// unread is how many bytes were sent and not yet received, with overhead.
	unread   atomic.Int64
	sendSize atomic.Int64 // SO_SNDBUF: limit on unread
	recvSize atomic.Int64 // SO_RCVBUF: has no effect
	passCred atomic.Bool
	// creds is the value of SO_PEERCRED.
	creds atomic.Pointer[linux.Ucred]

	mu    sync.Mutex
	addr  []byte // own address, with the family; nil: unbound
	bound name   // the name that addr stands for
	state state
	err   linux.Errno // for SO_ERROR and the next call
	// Directions that were shut down on this side or, for connections, on the
	// peer's.
	noRecv, noSend bool
	queue          []*packet
	backlog        int       // length of a listening socket's queue
	pending        []*Socket // connections to accept
	blocked        map[*Socket]struct{}
	ints           map[int]int // options without effect
}

type state int

const (
	unconnected state = iota
	listening
	connected
	closed
)

// packet is a message in the receive queue: the data of one send, or a part of
// it.
type packet struct {
	data    []byte
	off     int // bytes of a stream already read
	addr    []byte
	files   []*file.Open
	creds   *linux.Ucred // the sender's credentials
	from    *Socket
	charged int64 // bytes counted in from.unread
}

const (
	// defaultSize is net.core.wmem_default and rmem_default.
	defaultSize = 212992
	// overhead is the cost of a message in addition to its data, so that the
	// number of empty messages is limited, too.
	overhead = 512
	// maxQueued is net.unix.max_dgram_qlen.
	maxQueued = 10
)

// start has the program's initial credentials.
var start = linux.Ucred{PID: 1}

// self returns the program's credentials, with its effective IDs or its real
// ones.
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

// nobody is the peer's credentials for a socket without a peer.
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
	case linux.SOCK_RAW: // treated as datagrams
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

// join makes peer the other end of s. No other goroutine knows s yet.
func (s *Socket) join(peer *Socket) {
	s.peer.Store(peer)
	s.creds.Store(self(true))
	if s.connects() {
		s.state = connected
	}
}

// connects reports whether the socket's type has connections.
func (s *Socket) connects() bool { return s.Type() != linux.SOCK_DGRAM }

// writable reports whether unread is low enough to wake a sender: a quarter of
// the buffer, as in Linux.
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

// full reports whether datagram socket s has no room for sender. If so, sender
// is woken when there is room. For two sockets connected to each other, the
// only limit is the sender's buffer.
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

// block makes s wake other when there is room. The lock of s is held.
func (s *Socket) block(other *Socket) {
	if s.blocked == nil {
		s.blocked = make(map[*Socket]struct{})
	}
	s.blocked[other] = struct{}{}
}

// unblock returns the sockets that wait for room in s, to be passed to
// notifyAll. The lock of s is held.
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
	for _, conn := range pending { // not accepted yet
		conn.hangUp(linux.ECONNRESET)
		conn.Release()
	}
	if was == connected {
		reset := linux.Errno(0)
		if len(queue) > 0 {
			reset = linux.ECONNRESET // some data were not read
		}
		s.hangUp(reset)
	}
	notifyAll(waiting)
	s.Queue.Notify(wait.In | wait.Out | wait.Hup)
}

// hangUp closes the peer's side of the connection, with error errno.
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

// discard drops a packet that will not be received.
func (p *packet) discard() {
	for _, o := range p.files {
		o.Drop()
	}
	p.uncharge()
}

// uncharge subtracts the packet from the sender's unread bytes.
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
