package network

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/pith-os/pith/internal/gateway"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/libos/boot"
)

// fakeLink has the packets of a guest.
type fakeLink struct {
	packets chan []byte
	closed  chan struct{}
	closes  int
}

func newFakeLink() *fakeLink {
	return &fakeLink{packets: make(chan []byte, 10), closed: make(chan struct{})}
}

func (l *fakeLink) ReadPackets(pkts []link.Packet, sizes []int) (int, error) {
	select {
	case p := <-l.packets:
		sizes[0] = len(p)
		for _, piece := range pkts[0] {
			p = p[copy(piece, p):]
		}
		return 1, nil
	case <-l.closed:
		return 0, io.EOF
	}
}

func (l *fakeLink) WritePackets([]link.Packet) error { return nil }
func (l *fakeLink) Offload() bool                    { return true }
func (l *fakeLink) Done() <-chan struct{}            { return nil }
func (l *fakeLink) Close() error {
	if l.closes++; l.closes == 1 {
		close(l.closed)
	}
	return nil
}

func newLazy(t *testing.T) *lazyGateway {
	t.Helper()
	r, err := gateway.NewRules(gateway.Config{})
	if err != nil {
		t.Fatal(err)
	}
	n := &lazyGateway{rules: r}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestAGuestWithoutPacketsNeedsNoGateway(t *testing.T) {
	for name, end := range map[string]func(l *fakeLink, cancel func()){
		"the context ends":    func(_ *fakeLink, cancel func()) { cancel() },
		"the guest is closed": func(l *fakeLink, _ func()) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			n, l := newLazy(t), newFakeLink()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan error, 1)
			go func() { served <- n.Serve(ctx, l) }()
			end(l, cancel)
			if err := <-served; err != nil {
				t.Error(err)
			}
			if n.made != nil || l.closes == 0 {
				t.Errorf("gateway %v, the link was closed %d times", n.made, l.closes)
			}
		})
	}
}

func TestTheFirstPacketMakesTheGateway(t *testing.T) {
	n, l := newLazy(t), newFakeLink()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- n.Serve(ctx, l) }()
	for range 2 {
		l.packets <- make([]byte, 60) // the second one is read by the gateway
	}
	for len(l.packets) > 0 {
		runtime.Gosched()
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n.made == nil {
		t.Error("there is no gateway")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, err := n.gateway(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed network makes a gateway: %v", err)
	}
}

func TestTheFirstPacketIsPassedOn(t *testing.T) {
	for _, test := range []struct{ packet, room, size int }{{100, 100, 100}, {100, 99, 0}, {boot.MaxFrame, boot.MaxFrame, boot.MaxFrame}} {
		l := newFakeLink()
		want := bytes.Repeat([]byte("x"), test.packet)
		l.packets <- want
		f := &firstPacket{Link: l}
		if err := f.read(); err != nil {
			t.Fatal(err)
		}
		l.packets <- []byte("next")
		head, rest := make([]byte, 10), make([]byte, test.room-10)
		sizes := make([]int, 1)
		if n, err := f.ReadPackets([]link.Packet{{head, rest}}, sizes); n != 1 || err != nil || sizes[0] != test.size {
			t.Errorf("%d packets of %d bytes, %v; want %d bytes", n, sizes[0], err, test.size)
		}
		if !bytes.Equal(append(head, rest...), want[:test.room]) {
			t.Errorf("the packet of %d bytes differs", test.packet)
		}
		if n, err := f.ReadPackets([]link.Packet{{head}}, sizes); n != 1 || err != nil || string(head[:sizes[0]]) != "next" {
			t.Errorf("the next packet: %d, %v, %q", n, err, head)
		}
	}
}
