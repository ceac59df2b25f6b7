package block

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

// FuzzLyingDriver lets the script write to the driver's memory and notify the
// device at any time. The size of the file must not change.
func FuzzLyingDriver(f *testing.F) {
	request := func(typ byte, sector byte, pieces ...byte) []byte {
		return append([]byte{0, typ, sector, byte(len(pieces))}, pieces...)
	}
	f.Add(append(request(typeIn, 0, 0x10), request(typeOut, 1, 0x20, 0x21)...))
	f.Add(append(request(typeDiscard, 0, 1), 1, 9, 200, 3, 2, 0))
	f.Add([]byte{1, 0, 0, 0, 2, 0, 3, 0, 4, 255, 255, 1, 2, 3})
	const size = 64 << 10
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: base, Mem: devicetest.Pages(f, 1<<20)}})
	if err != nil {
		f.Fatal(err)
	}
	// A memfd needs no time for a flush. Direct makes the device copy unaligned
	// data as it would for a real disk.
	fd, err := unix.MemfdCreate("disk.img", unix.MFD_CLOEXEC)
	if err != nil {
		f.Fatal(err)
	}
	disk := os.NewFile(uintptr(fd), "disk.img")
	f.Cleanup(func() { disk.Close() })
	if err := disk.Truncate(size); err != nil {
		f.Fatal(err)
	}
	d, err := New(mem, disk, Info{Size: size, BlockSize: sector, Physical: sector, Direct: true, ID: "disk.img"}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	kick, call := devicetest.Event(f), devicetest.Event(f)
	f.Fuzz(func(t *testing.T, script []byte) {
		kick.Resume()
		m := &fixture{t: t, mem: mem, dev: d}
		m.q = virtqueuetest.New(mem, ringAt, 16, true)
		m.q.Indirect = base + 16<<10
		m.queue = device.Queue{Layout: m.q.Layout, Kick: kick, Call: call}
		if err := d.Start(allFeatures|device.FeatureIndirect, []device.Queue{m.queue}, m); err != nil {
			t.Fatal(err)
		}
		rings := m.bytes(base, 32<<10)
		for steps := 0; len(script) >= 4 && steps < 200; steps++ {
			op, x, y, n := script[0], script[1], script[2], int(script[3])
			script = script[4:]
			switch op % 4 {
			case 0:
				h, s := m.header(int(x)%16, uint32(x)%16, uint64(y))
				out, in := []virtqueuetest.Buffer{h}, []virtqueuetest.Buffer{}
				n = min(n, len(script), 12)
				for _, p := range script[:n] {
					// Some buffers are outside memory, or at odd addresses.
					piece := virtqueuetest.Buffer{Addr: dataAt + uint64(p)<<12 - uint64(p&1), Len: uint32(p&7) << 9}
					if x&1 != 0 {
						out = append(out, piece)
					} else {
						in = append(in, piece)
					}
				}
				script = script[n:]
				m.q.Add(out, append(in, s)[:len(in)+int(^op>>7)])
			case 1:
				rings[(int(x)<<8|int(y))%len(rings)] = byte(n)
				continue
			case 2:
				at := dataAt + uint64(x)<<12
				if at+16 < base+1<<20 {
					r := m.bytes(at, 16)
					binary.LittleEndian.PutUint64(r, uint64(y))
					binary.LittleEndian.PutUint32(r[8:], uint32(n))
				}
				continue
			}
			m.q.Publish()
			kick.Signal()
			m.q.Take()
		}
		d.Stop()
		if st, err := disk.Stat(); err != nil || st.Size() != size {
			t.Errorf("the file has %d bytes (%v)", st.Size(), err)
		}
	})
}
