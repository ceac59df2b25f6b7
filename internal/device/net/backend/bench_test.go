package backend

import (
	"fmt"
	"testing"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// BenchmarkPackets copies packets that the guest transmits, and packets that it
// receives into mergeable buffers of one page.
func BenchmarkPackets(b *testing.B) {
	for _, size := range []int{12 + 60, 12 + 1514, 12 + 14 + 65535} {
		b.Run(fmt.Sprintf("transmit/%d", size), func(b *testing.B) {
			g := newGuest(b, 1, all)
			d := g.queues[1]
			out := []virtqueuetest.Buffer{g.alloc(size)}
			pkts, sizes := []link.Packet{{make([]byte, 26), make([]byte, 65535)}}, []int{0}
			b.SetBytes(int64(size))
			for b.Loop() {
				d.Add(out, nil)
				if d.Publish() {
					g.card.Notify(1)
				}
				if n, err := g.card.ReadPackets(pkts, sizes); n != 1 || err != nil {
					b.Fatal(n, err)
				}
				d.Take()
			}
		})
		b.Run(fmt.Sprintf("receive/%d", size), func(b *testing.B) {
			g := newGuest(b, 1, all)
			d := g.queues[0]
			in := g.post(0, 32, 4096)
			pkts := []link.Packet{{pattern(size)}}
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := g.card.WritePackets(pkts); err != nil {
					b.Fatal(err)
				}
				for {
					if _, _, ok := d.Take(); !ok {
						break
					}
					d.Add(nil, in[:1])
				}
				d.Publish()
			}
		})
	}
}
