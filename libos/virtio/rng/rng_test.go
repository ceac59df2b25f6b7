package rng

import (
	"bytes"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

func open(t testing.TB) (*Device, *virtiotest.Queue) {
	t.Helper()
	dev := virtiotest.New(virtio.IDEntropy, 0, nil, 8)
	d, errno := Open(dev)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.Shutdown)
	return d, dev.Queue(0)
}

func TestReadReturnsTheDevicesEntropy(t *testing.T) {
	d, q := open(t)
	next := byte(0)
	q.Serve(func(c *virtiotest.Chain) int {
		n := min(7, len(c.In[0])) // fewer than requested
		for i := range n {
			c.In[0][i] = next
			next++
		}
		return n
	})
	want := make([]byte, 200)
	for i := range want {
		want[i] = byte(i)
	}
	got := make([]byte, 200)
	if errno := d.Read(got); errno != 0 || !bytes.Equal(got, want) {
		t.Errorf("read %v, %v, want 0 to 199", got, errno.Name())
	}
	if bytes.ContainsAny(d.buf.Mem, "\xc7") {
		t.Error("entropy that was read is still in memory shared with the device")
	}
}

func TestADeviceWithoutEntropyIsBroken(t *testing.T) {
	d, q := open(t)
	q.Serve(func(*virtiotest.Chain) int { return 0 })
	if errno := d.Read(make([]byte, 8)); errno != linux.EIO {
		t.Errorf("read: %v, want EIO", errno.Name())
	}
	if errno := d.Read(make([]byte, 8)); errno != linux.EIO {
		t.Errorf("second read: %v, want EIO", errno.Name())
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	dev := virtiotest.New(virtio.IDEntropy, 0, nil, 8)
	d, errno := Open(dev)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer d.Shutdown()
	q := dev.Queue(0)
	q.OnNotify(func() {
		for c, ok := q.Pop(); ok; c, ok = q.Pop() {
			q.Push(c, 8)
		}
	})
	p := make([]byte, 8)
	const chain = 2 // allocations of the test device
	if n := testing.AllocsPerRun(100, func() { d.Read(p) }); n > chain {
		t.Errorf("%v allocations, but the test device makes %d", n, chain)
	}
}

func FuzzLyingDevice(f *testing.F) {
	f.Add([]byte{8, 0, 64, 0})
	f.Add([]byte{65, 0, 8, 3})
	f.Fuzz(func(t *testing.T, script []byte) {
		defer platform.HostedForgetDMA()
		dev := virtiotest.New(virtio.IDEntropy, 0, nil, 8)
		d, errno := Open(dev)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		defer d.Shutdown()
		q := dev.Queue(0)
		q.OnNotify(func() {
			if len(script) < 2 {
				q.Lie(99, 0)
				return
			}
			for c, ok := q.Pop(); ok; c, ok = q.Pop() {
				q.Lie(c.ID+uint32(script[1]%2), uint32(script[0]))
			}
			script = script[2:]
		})
		p := make([]byte, 100)
		for d.Read(p) == 0 {
		}
	})
}
