// Package link is the packet link between an instance's network card and its
// network. A [Link] is what the network sees of the card; a [Network] is what
// the link is plugged into: a gateway (internal/gateway) or a tap interface
// (internal/tap). Monitors make Links and give them to a Network.
//
// A property of a Link or a Network is a method of its interface, never an
// optional one that a type assertion looks for. So a wrapper such as [Limit]
// does not compile until it answers for everything that it wraps.
package link

import (
	"context"
	"net"
	"os"
)

// Packet is one packet of a link, in as many pieces as suit its owner: a
// virtio-net header (boot.VirtioNetHeaderSize bytes, virtio 1.2 §5.1.6), then an
// Ethernet frame. Together they have at most boot.MaxFrame bytes.
type Packet = [][]byte

// Batch is the most packets that one call of a Link moves through a socket. A
// caller that prepares that many loses nothing.
const Batch = 16

// Link carries packets to and from one guest. One goroutine may read while
// another one writes.
type Link interface {
	// ReadPackets waits for packets from the guest. It fills the first n
	// elements of pkts piece by piece and sets the same elements of sizes to
	// the lengths of the packets in bytes. A packet that is longer than its
	// element gets a size of 0. The error is io.EOF when the guest has closed
	// the link or Close was called.
	ReadPackets(pkts []Packet, sizes []int) (n int, err error)
	// WritePackets sends pkts to the guest in order. It waits while there is
	// no room. It returns io.EOF as ReadPackets does.
	WritePackets(pkts []Packet) error
	// Offload reports whether packets may be large TCP segments and may have
	// partial checksums. If not, the virtio-net header of each packet is zero,
	// both ways. The answer does not change.
	Offload() bool
	// Done returns a channel that is closed when the link ends by itself, such
	// as when the guest stops. It is nil for a link that only finds this out
	// when it reads or writes.
	Done() <-chan struct{}
	// Close ends the link and wakes ReadPackets and WritePackets.
	Close() error
}

// Network is what a link is plugged into.
type Network interface {
	// Serve moves packets between the network and l until ctx is done or the
	// guest closes the link. Neither is an error. It closes l in any case. A
	// network serves one link at a time.
	Serve(ctx context.Context, l Link) error
	// Accept forwards each connection that the listener gets to the given TCP
	// port of the guest, until the listener is closed.
	Accept(listener net.Listener, port uint16)
	// Tap returns the open tap interface behind the network, if the host's
	// kernel (vhost-net) may move its packets in place of Serve. The file stays
	// the network's. ok is false if all packets must pass through Serve.
	Tap() (file *os.File, ok bool)
}
