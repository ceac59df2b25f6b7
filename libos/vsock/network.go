// Package vsock has sockets of AF_VSOCK (vsock(7)): streams between the program
// and the host, or whatever the host connects the device to. The device carries
// packets and needs no configured addresses (virtio 1.2 §5.10). The package
// stands on package socket and on a Link, which package libos/virtio/vsock
// provides.
//
// Sockets behave like Linux's. When the peer resets a connection, the program
// sees a normal end of file; only connect(2) fails with ECONNRESET. Datagrams,
// sequenced packets, and connections of the VM to itself are not supported.
//
// The credit given to a peer bounds the data that a socket buffers for it. A
// connection whose peer sends more is reset.
package vsock

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/wait"
)

// Link carries packets to and from peers.
type Link interface {
	// CID returns the VM's own address.
	CID() uint32
	// MaxData returns the most bytes of data in one packet.
	MaxData() int
	// Send sends a packet with h.Len bytes of data, which fill stores. It returns
	// false when there is no room, and calls Network.Room later. It neither blocks
	// nor calls back.
	Send(h *Header, fill func(p []byte)) bool
}

// Network is the sockets of the VM. One lock guards all of them, because
// packets arrive one at a time anyway.
type Network struct {
	link Link

	mu     sync.Mutex
	down   bool               // the link is broken
	bound  map[uint32]*Socket // key: port
	flows  map[flow]*Socket   // connections
	port   uint32             // last automatic port
	owed   []Header           // packets without data that wait for room
	queued []*Socket          // sockets that wait for room

	settled platform.Waiter // Receive waits here until owed is shorter
}

// flow identifies a connection: the local port and the peer's address.
type flow struct{ local, cid, port uint32 }

// maxOwed is how many packets may wait for room before Receive stops accepting
// packets, which cause most of them (virtio 1.2 §5.10.6.1.2).
const maxOwed = 256

// NewNetwork returns a network without sockets.
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
	case typ == linux.SOCK_DGRAM: // a device may support datagrams, but virtio's does not
		return nil, linux.ENODEV
	case typ != linux.SOCK_STREAM:
		return nil, linux.ESOCKTNOSUPPORT
	}
	return n.newSocket(), 0
}

// Receive handles a packet. data has h.Len bytes, which Receive does not keep.
// One goroutine calls it. Receive parks it while too many packets wait to be
// sent.
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

// refuse answers a packet for which there is no socket.
func (n *Network) refuse(h *Header) {
	if h.Op == opReset {
		return
	}
	n.control(&Header{
		SrcCID: h.DstCID, SrcPort: h.DstPort, DstCID: h.SrcCID, DstPort: h.SrcPort, Type: h.Type, Op: opReset,
	})
}

// control sends a packet without data, now or when there is room.
func (n *Network) control(h *Header) {
	if n.down {
		return
	}
	if len(n.owed) > 0 || !n.link.Send(h, nil) {
		n.owed = append(n.owed, *h)
	}
}

// Room handles that the link has room again. The link calls it.
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

// Reset ends all connections because they are lost: for example, the VM has
// another address now (virtio 1.2 §5.10.6.7). Listening sockets stay.
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

// Down handles that the link is broken for good. The link calls it.
func (n *Network) Down() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = true
	n.reset()
	n.owed, n.queued = nil, nil
	n.settled.Wake()
}

// lastReserved is the last port that bind never chooses automatically.
const lastReserved = 1023

// bind binds s to port, or to a free port for VMADDR_PORT_ANY.
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
