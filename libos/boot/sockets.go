package boot

import "errors"

// Messages on FDSockets. The image asks the monitor for sockets of the host with a
// [SocketRequest]. The monitor answers each with a [SocketReply], in any order, which
// carries at most one descriptor (SCM_RIGHTS, unix(7)). Descriptors go to the image
// only. All numbers are little-endian.

// SocketOp is what a SocketRequest asks for.
type SocketOp uint8

// Operations.
const (
	// SocketConnect makes a socket, sets its options, starts to connect it to Peer,
	// and passes it. The socket is non-blocking: the connection may still be under
	// way. Type is SOCK_STREAM or SOCK_DGRAM.
	SocketConnect SocketOp = 1 + iota
	// SocketListen makes the host's socket of published port Port listen, with a queue
	// of Backlog connections. No descriptor is passed: the image has the socket from
	// the start. Before, clients are refused, as any host refuses them.
	SocketListen
	// SocketUnlisten undoes SocketListen. The host refuses the connections that wait.
	SocketUnlisten
	socketOps
)

// SocketRequest is a message of the image.
type SocketRequest struct {
	ID      uint32 // returned in the reply
	Op      SocketOp
	Domain  uint8  // AF_INET or AF_INET6
	Type    uint8  // SOCK_STREAM or SOCK_DGRAM
	Port    uint16 // of SocketListen and SocketUnlisten
	Backlog uint16 // of SocketListen
	Peer    []byte // struct sockaddr; at most SocketAddrMax bytes
	Options []SocketOption
}

// SocketOption is an option to set before the socket is used (setsockopt(2)).
type SocketOption struct {
	Level, Name uint32
	Value       []byte // at most SocketOptionMax bytes
}

// Limits of the messages.
const (
	SocketAddrMax    = 28 // struct sockaddr_in6
	SocketOptionMax  = 32
	SocketOptions    = 64 // most options of a request
	MaxSocketRequest = 12 + 1 + SocketAddrMax + 1 + SocketOptions*(4+4+1+SocketOptionMax)
	MaxSocketReply   = 8
)

var errSocketMessage = errors.New("a message about sockets is malformed")

// Append appends the message to b. It panics if the request exceeds a limit: the image
// checks its program's values before.
func (r *SocketRequest) Append(b []byte) []byte {
	if len(r.Peer) > SocketAddrMax || len(r.Options) > SocketOptions {
		panic(errSocketMessage)
	}
	b = appendU32(b, r.ID)
	b = append(b, byte(r.Op), r.Domain, r.Type, 0, byte(r.Port), byte(r.Port>>8), byte(r.Backlog), byte(r.Backlog>>8))
	b = append(append(b, byte(len(r.Peer))), r.Peer...)
	b = append(b, byte(len(r.Options)))
	for _, o := range r.Options {
		if len(o.Value) > SocketOptionMax {
			panic(errSocketMessage)
		}
		b = appendU32(appendU32(b, o.Level), o.Name)
		b = append(append(b, byte(len(o.Value))), o.Value...)
	}
	return b
}

// ParseSocketRequest reads a SocketRequest. The monitor does not trust the image that sent
// it. The result refers to b.
func ParseSocketRequest(b []byte) (r SocketRequest, err error) {
	p := reader{b: b}
	r.ID = p.u32()
	r.Op, r.Domain, r.Type = SocketOp(p.u8()), p.u8(), p.u8()
	spare := p.u8()
	r.Port, r.Backlog = p.u16(), p.u16()
	r.Peer = p.bytes(SocketAddrMax)
	n := int(p.u8())
	if n > SocketOptions {
		p.bad = true
	}
	for range n {
		if p.bad {
			break
		}
		r.Options = append(r.Options, SocketOption{p.u32(), p.u32(), p.bytes(SocketOptionMax)})
	}
	if p.bad || len(p.b) != 0 || spare != 0 || r.Op == 0 || r.Op >= socketOps {
		return SocketRequest{}, errSocketMessage
	}
	return r, nil
}

// SocketReply is a message of the monitor. Without an error, it carries the descriptor that
// the request asks for.
type SocketReply struct {
	ID    uint32
	Errno uint32 // Linux's number; 0: success
}

// Append appends the message to b.
func (r SocketReply) Append(b []byte) []byte {
	return appendU32(appendU32(b, r.ID), r.Errno)
}

// ParseSocketReply reads a SocketReply.
func ParseSocketReply(b []byte) (SocketReply, error) {
	p := reader{b: b}
	r := SocketReply{p.u32(), p.u32()}
	if p.bad || len(p.b) != 0 {
		return SocketReply{}, errSocketMessage
	}
	return r, nil
}

// reader reads numbers and byte strings from the front of b.
type reader struct {
	b   []byte
	bad bool // b was too short, or a string too long
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 { return r.take(1)[0] }
func (r *reader) u16() uint16 {
	b := r.take(2)
	return uint16(b[0]) | uint16(b[1])<<8
}

func (r *reader) u32() uint32 {
	b := r.take(4)
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// bytes reads a length of one byte, and that many bytes.
func (r *reader) bytes(most int) []byte {
	n := int(r.u8())
	if n > most {
		r.bad = true
		return nil
	}
	return r.take(n)
}

func appendU32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
