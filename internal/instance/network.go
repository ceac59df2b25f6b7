package instance

import (
	"github.com/pith-os/pith/internal/hostinet"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"
)

// Network is a kind of network that an instance's network card can be plugged into. Package
// network has the kinds.
type Network interface {
	// Needs returns the parts that a monitor must support for this network.
	Needs() []Part
	// Open opens the network for one instance, in network namespace l.Namespace of the
	// host; nil: the caller's. Start calls it. When the instance has ended, the returned
	// network is closed.
	Open(l *Launch) (*Plug, error)
}

// Plug is an open network.
type Plug struct {
	link.Network          // nil: there is no network card
	Card         boot.Net // the network card's configuration
	// Sockets says how a confined process gets its connections as sockets of the host;
	// nil: all its packets pass the network card, as a VM's do.
	Sockets *hostinet.Config
	Close   func() error
}
