// Package socket has what sockets of every family share: the interface that the
// socket system calls (package sys/sockets) use, the registry of address families, and
// a base to embed. Packages unix, inet and vsock implement it.
package socket

import (
	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
)

// Socket is a socket of some family. Like all files, sockets never block: package
// sys/call does, with Ready and Watch. Socket addresses are the bytes of a struct
// sockaddr, which begin with the family.
//
// Read and Write are Recv and Send with one buffer, without flags and address.
type Socket interface {
	file.File

	Bind(addr []byte) linux.Errno
	// Connect returns EINPROGRESS if the attempt continues by itself: the socket
	// then becomes ready for Out, and SO_ERROR has the result. EAGAIN means that
	// the caller must try again after the next Out. Family AF_UNSPEC removes the
	// peer of a datagram socket.
	Connect(addr []byte) linux.Errno
	Listen(backlog int) linux.Errno
	// Accept returns the next connection, without O_NONBLOCK.
	Accept() (Socket, linux.Errno)
	LocalAddr() ([]byte, linux.Errno)
	PeerAddr() ([]byte, linux.Errno)

	// Send sends m and returns the number of bytes that it took. A stream may take
	// less than all. flags are MSG_* without MSG_DONTWAIT, MSG_NOSIGNAL and
	// MSG_OOB, which the caller handles. On success Send owns the references in
	// m.Files.
	Send(m *Message, flags int) (int, linux.Errno)
	// Recv fills m. flags are MSG_* without MSG_DONTWAIT, MSG_WAITALL,
	// MSG_CMSG_CLOEXEC and MSG_OOB, which the caller handles. A datagram that is
	// longer than m.Data sets MSG_TRUNC in m.Flags. With MSG_TRUNC in flags, Recv
	// returns the datagram's whole length.
	Recv(m *Message, flags int) (int, linux.Errno)

	// Shutdown is shutdown(2); how is one of SHUT_RD, SHUT_WR and SHUT_RDWR.
	Shutdown(how int) linux.Errno

	// SetOption and Option are setsockopt(2) and getsockopt(2). Option stores as
	// much as fits in val, and returns that length. An unknown option is
	// ENOPROTOOPT.
	SetOption(level, name int, val []byte) linux.Errno
	Option(level, name int, val []byte) (int, linux.Errno)

	// Timeouts returns SO_RCVTIMEO and SO_SNDTIMEO in nanoseconds; a negative one
	// means no timeout.
	Timeouts() (recv, send int64)
}

// Message is what sendmsg(2) and recvmsg(2) carry.
type Message struct {
	// Data are the caller's buffers.
	Data [][]byte
	// Addr is the destination; empty: the connected peer. Recv appends the
	// sender's address to Addr[:0].
	Addr []byte
	// Control are the control messages, without SCM_RIGHTS. Recv appends.
	Control []Control
	// Files are open files passed by SCM_RIGHTS. The message holds a reference to
	// each. Recv appends, and its caller owns the references.
	Files []*file.Open
	// Flags are the MSG_* that Recv reports: MSG_TRUNC, MSG_CTRUNC, MSG_EOR
	// and MSG_ERRQUEUE.
	Flags int
}

// Control is a control message (cmsg(3)).
type Control struct {
	Level, Type int
	Data        []byte
}

// Len returns the size of the message's data in bytes.
func (m *Message) Len() int {
	n := 0
	for _, b := range m.Data {
		n += len(b)
	}
	return n
}

// Advance removes n bytes, sent or received, from the front of Data.
func (m *Message) Advance(n int) {
	for len(m.Data) > 0 && n >= len(m.Data[0]) {
		n -= len(m.Data[0])
		m.Data = m.Data[1:]
	}
	if n > 0 {
		m.Data[0] = m.Data[0][n:]
	}
}

// Gather copies from the message's buffers, from byte skip on, into p. It returns the
// number of bytes.
func (m *Message) Gather(p []byte, skip int) int {
	n := 0
	for _, b := range m.Data {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		n += copy(p[n:], b[skip:])
		skip = 0
	}
	return n
}

// Scatter copies p into the message's buffers, from byte skip on. It returns the number
// of bytes.
func (m *Message) Scatter(p []byte, skip int) int {
	n := 0
	for _, b := range m.Data {
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		n += copy(b[skip:], p[n:])
		skip = 0
	}
	return n
}

// Family makes the sockets of one address family. typ is SOCK_* without flags.
type Family struct {
	New func(typ, proto int) (Socket, linux.Errno)
	// Pair is socketpair(2); nil if the family has no pairs.
	Pair func(typ, proto int) (a, b Socket, errno linux.Errno)
}

// families has the registered families, by AF_*.
var families [linux.AF_MAX]Family

// Register sets the family that makes the sockets of domain, an AF_*. It is called
// before the first call of New or Pair for that domain.
func Register(domain int, f Family) { families[domain] = f }

// New is socket(2).
func New(domain, typ, proto int) (Socket, linux.Errno) {
	if uint(domain) >= linux.AF_MAX {
		return nil, linux.EAFNOSUPPORT
	}
	f := &families[domain]
	if f.New == nil {
		return nil, linux.EAFNOSUPPORT
	}
	return f.New(typ, proto)
}

// Pair is socketpair(2).
func Pair(domain, typ, proto int) (a, b Socket, errno linux.Errno) {
	if uint(domain) >= linux.AF_MAX || families[domain].New == nil {
		return nil, nil, linux.EAFNOSUPPORT
	}
	f := &families[domain]
	if f.Pair == nil {
		return nil, nil, linux.EOPNOTSUPP
	}
	return f.Pair(typ, proto)
}
