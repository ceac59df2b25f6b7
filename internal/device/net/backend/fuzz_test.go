package backend

import (
	"encoding/binary"
	"testing"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// FuzzLyingDriver lets the fuzzer write the driver's memory while packets move in
// both directions. The link must stay within guest memory, and must neither panic
// nor hang.
func FuzzLyingDriver(f *testing.F) {
	f.Add(uint8(0xff), []byte{1, 2, 3, 4})
	f.Add(uint8(0), []byte("\x03\x02\x10\x10\x05\x00\x00\x01\x04\x00\x00\x00\x03\x00\x20\x00\x01\x02\x10\x03"))
	large4, large6 := segment(true, pattern(2000), 700), segment(false, pattern(2000), 700)
	partial := segment(true, pattern(300), 0)
	f.Fuzz(func(t *testing.T, choice uint8, script []byte) {
		const size = 8
		features := uint64(version1)
		for i, bit := range []uint64{csum, guestCsum, guestTSO4, guestTSO6, mrgRxbuf, indirect, eventIdx} {
			if choice&(1<<i) != 0 {
				features |= bit
			}
		}
		step := virtqueuetest.Size(size)
		memory := make([]byte, 3*step)
		around := memory[2*step:] // guest memory ends here
		for i := range around {
			around[i] = 0xa5
		}
		mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: memory[:2*step]}})
		if err != nil {
			t.Fatal(err)
		}
		card, err := New(1)
		if err != nil {
			t.Fatal(err)
		}
		var queues [2]*virtqueuetest.Driver
		for i := range queues {
			queues[i] = virtqueuetest.New(mem, step*uint64(i), size, features&eventIdx != 0)
		}
		opts := virtqueue.Options{EventIndex: features&eventIdx != 0, Indirect: features&indirect != 0}
		for i, d := range queues {
			q, err := virtqueue.New(mem, d.Layout, opts, 0)
			if err != nil {
				t.Fatal(err)
			}
			card.Enable(i, true)
			card.Start(i, q, features, func() {})
		}
		out, sizes := []link.Packet{{make([]byte, 26), make([]byte, 2000)}, {make([]byte, 26), make([]byte, 2000)}}, make([]int, 2)
		in := []link.Packet{{pattern(60)}, {large4}, {large6}, {partial}, {pattern(3000)}}
		exchange := func() error {
			n, err := card.transmitted(out, sizes)
			for i := range n {
				if sizes[i] < 0 || sizes[i] > 2026 {
					t.Fatalf("a packet of %d bytes", sizes[i])
				}
			}
			if err != nil {
				return err
			}
			done, err := card.rings[0].give(in, &card.plain)
			in = append(in[done:], in[:done]...)
			return err
		}
		for err == nil && len(script) >= 4 {
			op, where, a, b := script[0], int(script[1]), script[2], script[3]
			script = script[4:]
			d := queues[op>>7]
			switch op % 4 {
			case 0:
				part := [][]byte{d.Desc, d.Avail, d.Used}[int(op>>2)%3]
				binary.LittleEndian.PutUint16(part[2*where%len(part):], uint16(a)|uint16(b)<<8)
			case 1:
				flags := uint16(op>>2) & 7
				virtqueuetest.SetDesc(d.Desc, where%size, uint64(a)*2*step/250, uint32(b)<<(op>>5), flags, uint16(where+1)%size)
			case 2:
				binary.LittleEndian.PutUint16(d.Avail[2:], binary.LittleEndian.Uint16(d.Avail[2:])+uint16(a%4))
			case 3:
				err = exchange()
			}
		}
		for _, b := range around {
			if b != 0xa5 {
				t.Fatal("the link wrote beyond the guest's memory")
			}
		}
	})
}
