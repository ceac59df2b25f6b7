package instance

import (
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/netns"
	"github.com/pith-os/pith/libos/boot"
)

// Network makes what the network card of an instance is plugged into. Package
// network has the kinds of networks.
type Network interface {
	// Needs returns the parts that the network asks of a monitor.
	Needs() []Part
	// Open opens the network for one instance in network namespace ns of the
	// host; nil: the caller's. Start calls it, and closes what it returns when
	// the instance has ended.
	Open(ns *netns.Namespace) (*Plug, error)
}

// Plug is an open network.
type Plug struct {
	link.Network
	Card  boot.Net // the network card's configuration
	Close func() error
}
