package boot

import "errors"

// Messages on FDSockets. The image asks the monitor for sockets of the host with a
// [SocketRequest]. The monitor answers each with a [SocketReply], in any order, which
// carries at most one descriptor (SCM_RIGHTS, unix(7)). Descriptors go to the image
// only. All numbers are little-endian.

// SocketMode says which sockets of the host the monitor makes for a program.
type SocketMode string

// Modes.
const (
	// SocketsNone: the program's packets pass its network card, if there is one.
	SocketsNone SocketMode = ""
	// SocketsOut: connections to addresses outside. Everything else is within the image.
	SocketsOut SocketMode = "out"
	// SocketsAll: all sockets. The program's network is a network namespace of the
	// host's, and everything there may be reached.
	SocketsAll SocketMode = "all"
	// SocketsChecked is SocketsAll with a policy. The monitor checks the datagrams of
	// SOCK_DGRAM sockets, so it passes one end of a pair for each (datagrams.go).
	SocketsChecked SocketMode = "checked"
)

// Whole reports whether all of the program's sockets are the host's.
func (m SocketMode) Whole() bool { return m == SocketsAll || m == SocketsChecked }

// SocketOp is what a SocketRequest asks for.
type SocketOp uint8

// Operations. The image may do the rest by itself, on the descriptor.
const (
	// SocketOpen makes a non-blocking socket, sets its Options, starts to connect it to
	// Peer if there is one, and passes it. With a Handle the monitor keeps a copy, which
	// the operations below name.
	SocketOpen SocketOp = 1 + iota
	// SocketBind binds the socket to Peer.
	SocketBind
	// SocketConnect starts to connect the socket to Peer. When a SOCK_STREAM socket
	// starts to connect, the monitor closes its copy.
	SocketConnect
	// SocketListen makes the socket listen, with a queue of Backlog connections.
	SocketListen
	// SocketSet sets the options. It may do so for an option that the image may not set.
	SocketSet
	// SocketGet reads Options[0] into a buffer of the length of its Value.
	SocketGet
	// SocketName returns the local address of the socket, and SocketPeer that of its
	// peer, as a struct sockaddr.
	SocketName
	SocketPeer
	// SocketReach returns no error if the socket can send to Peer.
	SocketReach
	// SocketClose closes the monitor's copy.
	SocketClose
	// SocketPublish makes the host's socket of published port Port listen, with a queue
	// of Backlog connections. The image has the socket from the start. Before, clients
	// are refused, as any host refuses them.
	SocketPublish
	// SocketUnpublish undoes SocketPublish. The host refuses the connections that wait.
	SocketUnpublish
	// SocketTable passes an open file of SocketTables. Peer is its name.
	SocketTable
	// SocketInterface makes an ioctl(2) about an interface (netdevice(7)): Options[0]
	// has the request as Name, and its struct ifreq.
	SocketInterface
	socketOps
)

// SocketTables are the names for SocketTable. In the image they are the files below
// /proc/net with these names: tables about the Internet protocols (proc_pid_net(5)), and
// what stands behind /etc/resolv.conf and /etc/hosts.
var SocketTables = []string{"arp", "dev", "if_inet6", "igmp", "igmp6", "ipv6_route", "netstat", "raw", "raw6", "route", "snmp", "snmp6",
	"sockstat", "sockstat6", "tcp", "tcp6", "udp", "udp6", SocketResolver, SocketHosts, SocketPorts}

// Names in SocketTables that are no tables of the kernel.
const (
	SocketResolver = "pnp"   // resolv.conf(5)
	SocketHosts    = "hosts" // hosts(5)
	SocketPorts    = "ip_local_port_range"
)

// SocketRequest is a message of the image.
type SocketRequest struct {
	ID       uint32 // returned in the reply
	Handle   uint32 // of the monitor's copy; the image chooses a new one for SocketOpen
	Op       SocketOp
	Domain   uint8 // AF_INET, AF_INET6, or AF_NETLINK
	Type     uint8 // SOCK_STREAM or SOCK_DGRAM
	Protocol uint8 // IPPROTO_*; 0: the usual one of Type
	Port     uint16
	Backlog  uint16
	Peer     []byte // struct sockaddr; at most SocketAddrMax bytes
	Options  []SocketOption
}

// SocketOption is an option to set before the socket is used (setsockopt(2)).
type SocketOption struct {
	Level, Name uint32
	Value       []byte // at most SocketOptionMax bytes
}

// Limits of the messages.
const (
	SocketAddrMax    = 28  // struct sockaddr_in6
	SocketOptionMax  = 264 // struct group_source_req (ip(7))
	SocketOptions    = 64  // most options of a request
	MaxSocketRequest = 16 + 1 + SocketAddrMax + 1 + SocketOptions*(4+4+2+SocketOptionMax)
	MaxSocketReply   = 8 + SocketOptionMax
)

var errSocketMessage = errors.New("a message about sockets is malformed")

// Append appends the message to b. It panics if the request exceeds a limit: the image
// checks its program's values before.
func (r *SocketRequest) Append(b []byte) []byte {
	if len(r.Peer) > SocketAddrMax || len(r.Options) > SocketOptions {
		panic(errSocketMessage)
	}
	b = appendU32(appendU32(b, r.ID), r.Handle)
	b = append(b, byte(r.Op), r.Domain, r.Type, r.Protocol, byte(r.Port), byte(r.Port>>8), byte(r.Backlog), byte(r.Backlog>>8))
	b = append(append(b, byte(len(r.Peer))), r.Peer...)
	b = append(b, byte(len(r.Options)))
	for _, o := range r.Options {
		if len(o.Value) > SocketOptionMax {
			panic(errSocketMessage)
		}
		b = appendU32(appendU32(b, o.Level), o.Name)
		b = append(append(b, byte(len(o.Value)), byte(len(o.Value)>>8)), o.Value...)
	}
	return b
}

// ParseSocketRequest reads a SocketRequest. The monitor does not trust the image that sent
// it. The result refers to b.
func ParseSocketRequest(b []byte) (r SocketRequest, err error) {
	p := reader{b: b}
	r.ID, r.Handle = p.u32(), p.u32()
	r.Op, r.Domain, r.Type, r.Protocol = SocketOp(p.u8()), p.u8(), p.u8(), p.u8()
	r.Port, r.Backlog = p.u16(), p.u16()
	r.Peer = p.bytes(int(p.u8()), SocketAddrMax)
	n := int(p.u8())
	if n > SocketOptions {
		p.bad = true
	}
	for range n {
		if p.bad {
			break
		}
		r.Options = append(r.Options, SocketOption{p.u32(), p.u32(), p.bytes(int(p.u16()), SocketOptionMax)})
	}
	if p.bad || len(p.b) != 0 || r.Op == 0 || r.Op >= socketOps {
		return SocketRequest{}, errSocketMessage
	}
	return r, nil
}

// SocketReply is a message of the monitor. Without an error, it carries the descriptor that
// the request asks for.
type SocketReply struct {
	ID    uint32
	Errno uint32 // Linux's number; 0: success
	Value []byte // of operations that return one; at most SocketOptionMax bytes
}

// Append appends the message to b.
func (r SocketReply) Append(b []byte) []byte {
	return append(appendU32(appendU32(b, r.ID), r.Errno), r.Value...)
}

// ParseSocketReply reads a SocketReply. The result refers to b.
func ParseSocketReply(b []byte) (SocketReply, error) {
	p := reader{b: b}
	r := SocketReply{ID: p.u32(), Errno: p.u32()}
	if p.bad || len(p.b) > SocketOptionMax {
		return SocketReply{}, errSocketMessage
	}
	r.Value = p.b
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

// bytes reads n bytes, if that is not more than most.
func (r *reader) bytes(n, most int) []byte {
	if n > most {
		r.bad = true
		return nil
	}
	return r.take(n)
}

func appendU32(b []byte, v uint32) []byte {
	return append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
}
