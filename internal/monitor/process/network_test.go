package process

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// networkFunc is a link.Network.
type networkFunc func(ctx context.Context, l link.Link) error

func (f networkFunc) Serve(ctx context.Context, l link.Link) error {
	defer l.Close()
	return f(ctx, l)
}

// Needs and Open implement [instance.Network].
func (networkFunc) Needs() []instance.Part { return nil }

func (f networkFunc) Open(*instance.Launch) (*instance.Plug, error) {
	return &instance.Plug{Network: f, Card: boot.Net{MAC: "02:00:00:00:00:01"}}, nil
}

func (networkFunc) Tap() (*os.File, bool) { return nil, false }

func (networkFunc) Accept(net.Listener, uint16) { panic("the image accepts connections itself") }

func TestPacketsKeepTheirBounds(t *testing.T) {
	// The image's end is non-blocking, so the image polls for each packet. It sends back
	// half of the packet.
	var p tinyelf.Program
	buf := tinyelf.Imm(tinyelf.DataAddr)
	p.Forever(func() {
		p.Syscall(unix.SYS_READ, tinyelf.Imm(boot.FDPackets), buf, tinyelf.Imm(tinyelf.DataSize))
		p.IfZero(func() { p.Exit(0) })
		p.Raw(0x48, 0xd1, 0xe8) // SHR RAX, 1: an error becomes too large for a write
		p.Syscall(unix.SYS_WRITE, tinyelf.Imm(boot.FDPackets), buf, tinyelf.RAX)
		p.Syscall(unix.SYS_SCHED_YIELD)
	})
	network := networkFunc(func(_ context.Context, l link.Link) error {
		in, sizes := make([]byte, boot.MaxFrame), make([]int, 1)
		for _, size := range []int{2, 100, 60000} {
			if err := l.WritePackets([]link.Packet{{make([]byte, size)}}); err != nil {
				return err
			}
			if _, err := l.ReadPackets([]link.Packet{{in}}, sizes); err != nil {
				return err
			}
			if sizes[0] != size/2 {
				t.Errorf("a packet of %d bytes came back with %d", size, sizes[0])
			}
		}
		return nil
	})
	code, _ := run(t, &instance.Spec{
		Image: imageFile(t, &p), Network: network,
	})
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
}
