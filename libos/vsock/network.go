// Package vsock is sockets of AF_VSOCK (vsock(7)): streams between the program
// and its host, or what the host connects it with, over a device that carries
// packets and needs no addresses to be configured (virtio 1.2 §5.10). It stands
// on package socket and on a Link, which package libos/virtio/vsock has.
//
// Behaviour is Linux's: a connection that the peer resets has an end like one
// that it closed, only a connect can be reset (ECONNRESET). Not there:
// datagrams, sequenced packets, and connections of the machine to itself.
//
// What a socket has received and the program has not read is bounded by the
// credit that its peer was given; a peer that sends more loses the connection.
package vsock

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// Link is the way to the sockets of others.
type Link interface {
	// CID is the machine's own address.
	CID() uint32
	// MaxData is how much data one packet carries.
	MaxData() int
	// Send sends a packet with h.Len bytes of data, which fill stores. false:
	// there is no room; Network.Room is called when there is. It does not
	// block, and does not call back.
	Send(h *Header, fill func(p []byte)) bool
}

// Network are the sockets of the machine. One lock guards all of them: packets
// come one after the other anyway.
type Network struct {
	link Link

	mu     sync.Mutex
	down   bool               // nothing is sent or received any more
	bound  map[uint32]*Socket // by port
	flows  map[flow]*Socket   // connections, by both ends
	port   uint32             // the last one given by itself
	owed   []Header           // packets without data that wait for room
	queued []*Socket          // sockets that wait for room, to be told

	settled platform.Waiter // Receive waits for owed to become shorter
}

// flow is a connection: the own port and the peer's address.
type flow struct{ local, cid, port uint32 }

// maxOwed is how many packets the link may owe its peers before it takes no
// more of theirs, which cause most of them (virtio 1.2 §5.10.6.1.2).
const maxOwed = 256

// NewNetwork makes a network without sockets.
func NewNetwork(link Link) *Network {
	var seed [4]byte
	platform.Random(seed[:])
	return &Network{
		link: link, bound: map[uint32]*Socket{}, flows: map[flow]*Socket{},
		port: uint32(seed[0]) | uint32(seed[1])<<8 | uint32(seed[2])<<16 | uint32(seed[3])<<24,
	}
}

// New is socket(2).
func (n *Network) New(typ, proto int) (socket.Socket, linux.Errno) {
	switch {
	case proto != 0 && proto != linux.AF_VSOCK:
		return nil, linux.EPROTONOSUPPORT
	case typ == linux.SOCK_DGRAM: // a device may carry them, but virtio's does not
		return nil, linux.ENODEV
	case typ != linux.SOCK_STREAM:
		return nil, linux.ESOCKTNOSUPPORT
	}
	return n.newSocket(), 0
}

// Receive takes a packet; data are h.Len bytes, which are the caller's again
// afterwards. One goroutine calls it, which is parked while too many packets
// wait to be sent.
func (n *Network) Receive(h *Header, data []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.owed) >= maxOwed && !n.down {
		n.mu.Unlock()
		n.settled.Wait()
		n.mu.Lock()
	}
	if h.DstCID != uint64(n.link.CID()) || h.SrcCID > linux.VMADDR_CID_ANY || n.down {
		return
	}
	s := n.flows[flow{h.DstPort, uint32(h.SrcCID), h.SrcPort}]
	switch {
	case h.Type != typeStream:
		n.refuse(h)
	case s != nil:
		s.receive(h, data)
	case h.Op == opRequest:
		if l := n.bound[h.DstPort]; l != nil && l.state == listening {
			l.request(h)
			return
		}
		n.refuse(h)
	default:
		n.refuse(h)
	}
}

// refuse answers a packet that nobody takes.
func (n *Network) refuse(h *Header) {
	if h.Op == opReset {
		return
	}
	n.control(&Header{
		SrcCID: h.DstCID, SrcPort: h.DstPort, DstCID: h.SrcCID, DstPort: h.SrcPort, Type: h.Type, Op: opReset,
	})
}

// control sends a packet without data, now or later.
func (n *Network) control(h *Header) {
	if n.down {
		return
	}
	if len(n.owed) > 0 || !n.link.Send(h, nil) {
		n.owed = append(n.owed, *h)
	}
}

// Room is called by the link when it has room again.
func (n *Network) Room() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.owed) > 0 {
		if !n.link.Send(&n.owed[0], nil) {
			return
		}
		n.owed = n.owed[1:]
	}
	n.owed = nil
	n.settled.Wake()
	queued := n.queued
	n.queued = nil
	for _, s := range queued {
		s.queued = false
		s.Queue.Notify(wait.Out)
	}
}

// Reset ends all connections, because they are lost: the machine has another
// address now, for example (virtio 1.2 §5.10.6.7). Sockets that listen stay.
func (n *Network) Reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reset()
}

func (n *Network) reset() {
	for _, s := range n.flows {
		s.fail(linux.ECONNRESET)
	}
}

// Down is called when the link is broken for good.
func (n *Network) Down() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	n.reset()
	n.owed, n.queued = nil, nil
	n.settled.Wake()
}

// lastReserved is the last port that is not given to a socket by itself.
const lastReserved = 1023

// bind gives s port, or a free one for VMADDR_PORT_ANY.
func (n *Network) bind(s *Socket, port uint32) linux.Errno {
	if port != linux.VMADDR_PORT_ANY {
		if n.bound[port] != nil {
			return linux.EADDRINUSE
		}
	} else {
		for {
			if n.port++; n.port <= lastReserved || n.port == linux.VMADDR_PORT_ANY {
				n.port = lastReserved + 1
			}
			if n.bound[n.port] == nil {
				break
			}
		}
		port = n.port
	}
	n.bound[port] = s
	s.local.port = port
	return 0
}
