package inet

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// hostStream is a connection to a published port. It is a connection of the
// host that the program reads and writes directly. The runtime's poller is
// attached to the host's descriptor (file.Pollable). Goroutines that pass the
// descriptor's edges on to the queue run only if the program waits in another
// way: by epoll or in a blocking call.
type hostStream struct {
	socket.Base
	host        *platform.Host
	domain      int
	local, peer tcpip.FullAddress
	options     hostOptions

	peek struct {
		sync.Mutex
		some  atomic.Bool // buf, eof or errno is set; otherwise the lock is not needed
		buf   []byte      // read from the host, not yet by the program
		eof   bool
		errno linux.Errno // error that ended the connection, not yet reported
	}
	full    atomic.Bool // the last write found no room
	watched sync.Once   // the queue has had an entry
}

var directions = [2]struct {
	mode platform.Mode
	ev   wait.Events
}{
	{platform.Readable, wait.In | wait.RdHup},
	{platform.Writable, wait.Out},
}

// newHostStream makes the socket of a connection from peer that the host
// accepted for listener l.
func newHostStream(l *stream, host *platform.Host, peer []byte) *hostStream {
	s := &hostStream{host: host, domain: l.domain}
	s.Init(l.domain, linux.SOCK_STREAM, linux.IPPROTO_TCP)
	s.peer = publishedPeer(l.domain, peer)
	bound, err := l.ep.GetLocalAddress()
	if err == nil {
		s.local = publishedLocal(bound, s.peer)
	}
	s.Queue.Changed = s.watch
	return s
}

// watch starts to pass the host's edges on to the queue when the queue gets its
// first entry. It continues until the connection ends: a goroutine that stopped
// earlier could leave an edge in the poller that nobody sees.
func (s *hostStream) watch(on bool) {
	if on {
		s.watched.Do(func() {
			for i := range directions {
				go s.follow(i)
			}
		})
	}
}

// follow passes on the edges of one direction.
func (s *hostStream) follow(direction int) {
	d := directions[direction]
	for s.host.Wait(d.mode) == 0 {
		if d.mode == platform.Writable {
			s.full.Store(false)
		}
		s.Queue.Notify(d.ev)
	}
	s.full.Store(false)
}

// PollOpen implements file.Pollable.
func (s *hostStream) PollOpen(pd uintptr) linux.Errno { return s.host.Attach(pd) }

// PollClose implements file.Pollable.
func (s *hostStream) PollClose(pd uintptr) { s.host.Detach(pd) }

// Read implements file.File.
func (s *hostStream) Read(p []byte) (int, linux.Errno) {
	if s.peek.some.Load() {
		if n, errno := s.readPeeked(p); errno != linux.EAGAIN {
			return n, errno
		}
	}
	return s.host.Read(p)
}

// readPeeked reads from the data that lookAhead has read. It returns EAGAIN
// when there are none.
func (s *hostStream) readPeeked(p []byte) (int, linux.Errno) {
	s.peek.Lock()
	defer s.peek.Unlock()
	switch {
	case len(s.peek.buf) > 0:
		n := copy(p, s.peek.buf)
		s.peek.buf = s.peek.buf[n:]
		s.peek.some.Store(len(s.peek.buf) > 0 || s.peek.eof)
		return n, 0
	case s.peek.errno != 0:
		errno := s.peek.errno
		s.peek.errno = 0
		s.peek.some.Store(s.peek.eof)
		return 0, errno
	case s.peek.eof:
		return 0, 0
	}
	return 0, linux.EAGAIN
}

// aheadSize is the smallest number of bytes that lookAhead reads, so that later
// reads need not be tiny.
const aheadSize = 4096

// lookAhead returns up to n bytes that the program will read next. It does not
// wait for all of them. At the end of the stream it returns no bytes.
func (s *hostStream) lookAhead(n int) ([]byte, linux.Errno) {
	s.peek.Lock()
	defer s.peek.Unlock()
	if s.peek.errno != 0 {
		return nil, s.peek.errno
	}
	if have := len(s.peek.buf); have < n && !s.peek.eof {
		buf := make([]byte, max(n, aheadSize))
		copy(buf, s.peek.buf)
		switch got, errno := s.host.Read(buf[have:]); {
		case errno == 0:
			s.peek.eof = got == 0
			s.peek.buf = buf[:have+got]
			s.peek.some.Store(true)
		case have > 0:
		case errno == linux.EAGAIN:
			return nil, errno
		default:
			s.peek.errno = errno // the next read reports it
			s.peek.some.Store(true)
			return nil, errno
		}
	}
	return s.peek.buf[:min(n, len(s.peek.buf))], 0
}

// Write implements file.File.
func (s *hostStream) Write(p []byte) (int, linux.Errno) {
	n, errno := s.host.Write(p)
	if errno == linux.EAGAIN {
		s.full.Store(true)
	}
	return n, errno
}

// gatherBuffers are buffers in which Send gathers small ones. A host write
// takes one buffer, and a header should not become a segment of its own.
var gatherBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// Send implements socket.Socket.
func (s *hostStream) Send(m *socket.Message, flags int) (int, linux.Errno) {
	if len(m.Data) == 1 {
		return s.Write(m.Data[0])
	}
	buf := gatherBuffers.Get().(*[64 << 10]byte)
	defer gatherBuffers.Put(buf)
	for done, size := 0, m.Len(); ; {
		n := m.Gather(buf[:], done)
		written, errno := s.Write(buf[:n])
		done += written
		switch {
		case errno != 0 && done == 0:
			return 0, errno
		case errno != 0 || written < n || done == size:
			return done, 0
		}
	}
}

// Recv implements socket.Socket.
func (s *hostStream) Recv(m *socket.Message, flags int) (int, linux.Errno) {
	switch {
	case flags&linux.MSG_ERRQUEUE != 0:
		return 0, linux.EAGAIN
	case flags&linux.MSG_PEEK != 0:
		b, errno := s.lookAhead(m.Len())
		return m.Scatter(b, 0), errno
	case flags&linux.MSG_TRUNC != 0: // tcp(7): discard the data
		return s.Read(make([]byte, min(m.Len(), tcpBufferDefault)))
	}
	done := 0
	for _, b := range m.Data {
		if len(b) == 0 {
			continue
		}
		n, errno := s.Read(b)
		done += n
		if errno != 0 && done == 0 {
			return 0, errno
		}
		if errno != 0 || n < len(b) {
			break
		}
	}
	return done, 0
}

// Ready implements file.File. The host reports edges only, so finding the
// current state takes a look ahead.
func (s *hostStream) Ready() wait.Events {
	var ev wait.Events
	switch b, errno := s.lookAhead(1); {
	case errno == linux.EAGAIN:
	case errno != 0:
		ev = wait.In | wait.Err | wait.Hup
	case len(b) == 0:
		ev = wait.In | wait.RdHup
	default:
		ev = wait.In
	}
	if !s.full.Load() {
		ev |= wait.Out
	}
	return ev
}

// Shutdown implements socket.Socket.
func (s *hostStream) Shutdown(how int) linux.Errno { return s.host.Shutdown(how) }

// LocalAddr implements socket.Socket.
func (s *hostStream) LocalAddr() ([]byte, linux.Errno) { return encode(nil, s.domain, s.local), 0 }

// PeerAddr implements socket.Socket.
func (s *hostStream) PeerAddr() ([]byte, linux.Errno) { return encode(nil, s.domain, s.peer), 0 }

// Bind implements socket.Socket.
func (s *hostStream) Bind([]byte) linux.Errno { return linux.EINVAL }

// Connect implements socket.Socket.
func (s *hostStream) Connect([]byte) linux.Errno { return linux.EISCONN }

// Listen implements socket.Socket.
func (s *hostStream) Listen(int) linux.Errno { return linux.EINVAL }

// Accept implements socket.Socket.
func (s *hostStream) Accept() (socket.Socket, linux.Errno) { return nil, linux.EINVAL }

// Release implements file.File.
func (s *hostStream) Release() { s.host.Close() }

// hostOptions are the options of a host connection. The instance cannot set
// options on the host's socket; the monitor has set TCP_NODELAY on its
// listeners. The program reads back what it has set.
type hostOptions struct {
	mu     sync.Mutex
	isSet  bool
	values [len(hostOptionNames)]int32
}

// hostOptionNames are the numeric options, with their initial values.
var hostOptionNames = [...]struct {
	level, name int
	value       int32
}{
	{linux.SOL_TCP, linux.TCP_NODELAY, 0},
	{linux.SOL_TCP, linux.TCP_CORK, 0},
	{linux.SOL_TCP, linux.TCP_QUICKACK, 1},
	{linux.SOL_TCP, linux.TCP_KEEPIDLE, 7200},
	{linux.SOL_TCP, linux.TCP_KEEPINTVL, 75},
	{linux.SOL_TCP, linux.TCP_KEEPCNT, 9},
	{linux.SOL_TCP, linux.TCP_USER_TIMEOUT, 0},
	{linux.SOL_TCP, linux.TCP_NOTSENT_LOWAT, 0},
	{linux.SOL_SOCKET, linux.SO_KEEPALIVE, 0},
	{linux.SOL_SOCKET, linux.SO_REUSEADDR, 1},
	{linux.SOL_SOCKET, linux.SO_REUSEPORT, 0},
	{linux.SOL_SOCKET, linux.SO_SNDBUF, tcpBufferDefault},
	{linux.SOL_SOCKET, linux.SO_RCVBUF, tcpBufferDefault},
	{linux.SOL_SOCKET, linux.SO_MARK, 0},
	{linux.SOL_SOCKET, linux.SO_PRIORITY, 0},
	{linux.SOL_SOCKET, linux.SO_RCVLOWAT, 1},
	{linux.SOL_IP, linux.IP_TOS, 0},
	{linux.SOL_IP, linux.IP_TTL, defaultTTL},
	{linux.SOL_IPV6, linux.IPV6_TCLASS, 0},
	{linux.SOL_IPV6, linux.IPV6_UNICAST_HOPS, defaultTTL},
	{linux.SOL_IPV6, linux.IPV6_V6ONLY, 0},
}

// value returns a pointer to the option's value in o, or nil for an unknown
// option.
func (o *hostOptions) value(level, name int) *int32 {
	for i, n := range hostOptionNames {
		if n.level == level && n.name == name {
			if !o.isSet {
				o.isSet = true
				for j := range hostOptionNames {
					o.values[j] = hostOptionNames[j].value
				}
			}
			return &o.values[i]
		}
	}
	return nil
}

// SetOption implements socket.Socket.
func (s *hostStream) SetOption(level, name int, val []byte) linux.Errno {
	s.options.mu.Lock()
	defer s.options.mu.Unlock()
	if p := s.options.value(level, name); p != nil {
		v, errno := getInt(level, val)
		if errno == 0 {
			*p = int32(v)
		}
		return errno
	}
	if level == linux.SOL_SOCKET && name == linux.SO_LINGER {
		_, errno := socket.Get[linux.Linger](val)
		return errno
	}
	return s.Base.SetOption(level, name, val)
}

// Option implements socket.Socket.
func (s *hostStream) Option(level, name int, val []byte) (int, linux.Errno) {
	s.options.mu.Lock()
	defer s.options.mu.Unlock()
	if p := s.options.value(level, name); p != nil {
		return socket.Put(val, *p), 0
	}
	switch {
	case level == linux.SOL_SOCKET && (name == linux.SO_ERROR || name == linux.SO_ACCEPTCONN):
		return socket.PutInt(val, 0), 0
	case level == linux.SOL_SOCKET && name == linux.SO_LINGER:
		return socket.Put(val, linux.Linger{}), 0
	case level == linux.SOL_TCP && name == linux.TCP_INFO:
		return socket.Put(val, linux.TCPInfo{State: linux.TCP_ESTABLISHED}), 0
	case level == linux.SOL_TCP && name == linux.TCP_CONGESTION:
		return copy(val, "cubic\x00"), 0
	}
	return s.Base.Option(level, name, val)
}
