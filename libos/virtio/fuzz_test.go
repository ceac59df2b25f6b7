package virtio_test

import (
	"testing"

	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// FuzzQueue runs a device that lies about used buffers while a driver
// continues. A token that Take returns must be one that the device has, with no
// more bytes than there is room for. Descriptors must be neither lost nor made
// up.
func FuzzQueue(f *testing.F) {
	f.Add(uint8(8), uint64(0), []byte{0, 1, 2, 0, 1, 2})
	f.Add(uint8(4), uint64(virtio.FeatureEventIndex), []byte{0, 0, 0, 3, 1, 0, 5, 6, 1, 7, 2, 2})
	f.Add(uint8(2), uint64(virtio.FeatureIndirect), []byte{0, 4, 200, 2, 0, 5, 255, 2})
	f.Fuzz(func(t *testing.T, size uint8, without uint64, script []byte) {
		virtio.CaptureReports(t)
		defer platform.HostedForgetDMA()
		dev := virtiotest.New(1, 0, nil, int(size)).Without(without & (virtio.FeatureEventIndex | virtio.FeatureIndirect))
		d, errno := virtio.Open(dev, 0)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		q, errno := d.NewQueue(0, 16)
		if errno != 0 {
			if size >= 2 {
				t.Fatal(errno.Name())
			}
			return
		}
		if errno := d.Start(); errno != 0 {
			t.Fatal(errno.Name())
		}
		defer d.Shutdown()

		mem := alloc(t, 4096)
		rooms := map[int]int{} // bytes of room, by token that the device has
		var popped []*virtiotest.Chain
		token := 0
		next := func() int {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return int(b)
		}
		for len(script) > 0 {
			switch next() % 8 {
			case 0, 1:
				out, in := next()%4, next()%4
				var outs, ins []virtio.Buffer
				room := 0
				for i := range out {
					outs = append(outs, mem.Slice(i*64, i*64+next()%64))
				}
				for i := range in {
					b := mem.Slice(2048+i*64, 2048+i*64+next()%64)
					ins, room = append(ins, b), room+len(b.Mem)
				}
				if q.Add(outs, ins, token) {
					rooms[token] = room
					token++
				}
				q.Kick()
			case 2:
				tok, n, ok := q.Take()
				if !ok {
					break
				}
				room, has := rooms[tok]
				if !has || n > room {
					t.Fatalf("Take returned token %d with %d bytes; the device has it: %v, with room %d", tok, n, has, room)
				}
				delete(rooms, tok)
			case 3:
				if c, ok := dev.Queue(0).Pop(); ok {
					popped = append(popped, c)
				}
			case 4:
				if len(popped) > 0 {
					dev.Queue(0).Push(popped[0], next())
					popped = popped[1:]
				}
			case 5:
				dev.Queue(0).Lie(uint32(next()), uint32(next()))
			case 6:
				dev.Queue(0).LieIndex(uint16(next()))
			case 7:
				dev.Queue(0).Scribble(script)
				next()
			}
		}
		for !q.Broken() {
			tok, n, ok := q.Take()
			if !ok {
				break
			}
			if room, has := rooms[tok]; !has || n > room {
				t.Fatalf("at the end, Take returned token %d with %d bytes, which the device does not have or has no room for", tok, n)
			}
			delete(rooms, tok)
		}
		if len(rooms) == 0 && q.Free() != q.Size() {
			t.Errorf("%d of %d descriptors are free with no chain in flight", q.Free(), q.Size())
		}
		if q.Free() < 0 || q.Free()+len(rooms) > q.Size() {
			t.Errorf("%d of %d descriptors are free with %d chains in flight", q.Free(), q.Size(), len(rooms))
		}
	})
}
