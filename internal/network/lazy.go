package network

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"
)

// lazyGateway is a gateway that has no TCP/IP stack until something needs it: a published
// port, or the guest's first packet. Most confined processes never send one, because their
// connections are host sockets. Nobody needs the gateway for the first time while Serve
// waits for that packet.
type lazyGateway struct {
	rules *gateway.Rules

	mu     sync.Mutex // guards the fields below
	made   *gateway.Gateway
	closed bool
}

var _ link.Network = (*lazyGateway)(nil)

// gateway returns the gateway, which it makes if there is none.
func (n *lazyGateway) gateway() (*gateway.Gateway, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, net.ErrClosed
	}
	if n.made == nil {
		g, err := n.rules.Gateway()
		if err != nil {
			return nil, err
		}
		n.made = g
	}
	return n.made, nil
}

// Serve implements [link.Network].
func (n *lazyGateway) Serve(ctx context.Context, l link.Link) error {
	n.mu.Lock()
	made := n.made
	n.mu.Unlock()
	if made != nil {
		return made.Serve(ctx, l)
	}
	first := &firstPacket{Link: l}
	end := sync.OnceValue(l.Close)
	unhook := context.AfterFunc(ctx, func() { _ = end() }) // wakes read; the error is returned below
	err := first.read()
	if !unhook() || errors.Is(err, io.EOF) { // ctx is done, or the guest has closed the link
		return end()
	}
	if err != nil {
		return errors.Join(err, end())
	}
	g, err := n.gateway()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return g.Serve(ctx, first)
}

// Accept implements [link.Network].
func (n *lazyGateway) Accept(listener net.Listener, port uint16) {
	g, err := n.gateway()
	if err != nil {
		return // it is closed, and so is the listener
	}
	g.Accept(listener, port)
}

// Tap implements [link.Network].
func (n *lazyGateway) Tap() (file *os.File, ok bool) { return nil, false }

// Close closes the gateway.
func (n *lazyGateway) Close() error {
	n.mu.Lock()
	n.closed = true
	g := n.made
	n.mu.Unlock()
	if g == nil {
		return nil
	}
	return g.Close()
}

// firstPacket is a link whose first packet is read before the rest.
type firstPacket struct {
	link.Link
	packet []byte
}

// read waits for a packet that is not too long.
func (f *firstPacket) read() error {
	buf := make([]byte, boot.MaxFrame)
	for {
		var size [1]int
		n, err := f.Link.ReadPackets([]link.Packet{{buf}}, size[:])
		if err != nil {
			return err
		}
		if n > 0 && size[0] > 0 {
			f.packet = buf[:size[0]]
			return nil
		}
	}
}

// ReadPackets implements [link.Link].
func (f *firstPacket) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	if f.packet == nil {
		return f.Link.ReadPackets(pkts, sizes)
	}
	rest := f.packet
	for _, piece := range pkts[0] {
		rest = rest[copy(piece, rest):]
	}
	sizes[0] = len(f.packet)
	if len(rest) > 0 {
		sizes[0] = 0 // longer than its element
	}
	f.packet = nil
	return 1, nil
}
