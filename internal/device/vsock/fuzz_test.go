package vsock

import (
	"io"
	"net"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

type noBus struct{}

func (noBus) ConfigChanged() {}
func (noBus) Fail(error)     {}

// FuzzLyingDriver lets the script send packets, valid and invalid ones, lend
// buffers, and write to the rings. Meanwhile the host has connections to the
// guest. The host also echoes what arrives at port 1.
func FuzzLyingDriver(f *testing.F) {
	send := func(op, port, flags, n byte) []byte { return []byte{0, op, port, flags, n, 16} }
	lend := []byte{1, 2, 0, 0}
	f.Add(append(append(append([]byte{}, lend...), lend...), append(send(opRequest, 1, 0, 0), send(opData, 1, 0, 200)...)...))
	f.Add(append(append(append([]byte{}, lend...), send(opRequest, 1, 0, 0)...), send(opShutdown, 1, 3, 0)...))
	f.Add(append(send(opRequest, 9, 0, 0), send(opReset, 9, 0, 0)...))
	f.Add([]byte{2, 0, 1, 2, 3, 4, 5, 6, 3, 1, 0, 9})
	b := host(f)
	l, err := net.Listen("unix", b.path+"_1")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	const pages, entries = 1 << 20, 16
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Mem: devicetest.Pages(f, pages)}})
	if err != nil {
		f.Fatal(err)
	}
	d := newDevice(f, mem, b)
	var queues []device.Queue
	for range d.Queues() {
		queues = append(queues, device.Queue{Kick: devicetest.Event(f), Call: devicetest.Event(f)})
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		var drivers []*virtqueuetest.Driver
		for i := range queues {
			q := virtqueuetest.New(mem, uint64(i)<<12, entries, true)
			drivers = append(drivers, q)
			queues[i].Layout = q.Layout
			queues[i].Kick.Resume()
		}
		if err := d.Start(device.FeatureVersion1|device.FeatureEventIdx, queues, noBus{}); err != nil {
			t.Fatal(err)
		}
		defer d.Stop()
		// Ignore errors: short scripts leave more connections than the backlog holds,
		// and an invalid queue may end one at once.
		if c, err := net.Dial("unix", b.path); err == nil {
			defer c.Close()
			_, _ = c.Write([]byte("CONNECT 7\nsome data"))
		}
		rings, _ := mem.Slice(0, 3<<12)
		for steps := 0; len(script) >= 6 && steps < 100; steps++ {
			op, p := script[0], script[1:6]
			script = script[6:]
			slot := uint64(1<<16 + int(p[0]%8)<<16)
			buffer := virtqueuetest.Buffer{Addr: slot, Len: uint32(p[1])<<8 + 1}
			switch op % 4 {
			case 0:
				h := packet(uint16(p[0]%8), uint32(p[1]%4))
				h.flags, h.len = uint32(p[2]), uint32(p[3])<<6
				h.alloc, h.forwarded = uint32(p[4])<<8, uint32(p[2])
				if op&64 != 0 {
					h.srcPort, h.dstPort = 7, firstPort+1
				}
				at, _ := mem.Slice(slot, headerSize)
				h.put((*[headerSize]byte)(at))
				buffer.Len = headerSize + h.len - uint32(op>>7)
				drivers[queueTransmit].Add([]virtqueuetest.Buffer{buffer}, nil)
			case 1:
				drivers[queueReceive].Add(nil, []virtqueuetest.Buffer{buffer})
			case 2:
				rings[(int(p[0])<<8|int(p[1]))%len(rings)] = p[2]
				continue
			}
			i := int(op % 4 & 1) // one of the receive and transmit queues
			for _, i := range []int{1 - i, i} {
				drivers[i].Publish()
				queues[i].Kick.Signal()
				drivers[i].Take()
			}
		}
	})
}
