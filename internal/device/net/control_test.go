package net

import (
	"errors"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// pairsOn is a dataPath that records which pairs are enabled.
type pairsOn struct {
	on  []bool
	bad error // what enable returns
}

func (b *pairsOn) features() uint64 { return dataPathFeatures }
func (b *pairsOn) start(_ uint64, queues []device.Queue) error {
	b.on = make([]bool, len(queues)/2)
	return nil
}
func (b *pairsOn) enable(pair int, on bool) error {
	b.on[pair] = on
	return b.bad
}
func (b *pairsOn) stop()                 {}
func (b *pairsOn) gone() <-chan struct{} { return nil }
func (b *pairsOn) err() error            { return nil }
func (b *pairsOn) descriptor() int       { return -1 }
func (b *pairsOn) close()                {}

func TestCommandFailsIfTheBackEndFails(t *testing.T) {
	m := newMachine(t, 5, 16)
	d, err := newDevice(m.mem, &pairsOn{bad: errors.New("gone")}, Config{Pairs: 2})
	if err != nil {
		t.Fatal(err)
	}
	m.start(d, features|feature.Control|feature.Multi)
	defer d.Stop()
	if got := m.command(4, 4, 0, 2, 0); got != statusError {
		t.Errorf("status %d for a back end that is gone, want %d", got, statusError)
	}
}

// FuzzControl lets the fuzzer write the first 4 KiB of memory, which begin with
// the control queue. No command may panic. Pairs that the driver has not set up
// must stay off.
func FuzzControl(f *testing.F) {
	const size, pairs, absent = 8, 4, 2
	memory := func() (*virtqueue.Memory, []byte, *virtqueuetest.Driver) {
		b := make([]byte, 8192)
		mem, err := virtqueue.NewMemory([]virtqueue.Region{{Mem: b}})
		if err != nil {
			f.Fatal(err)
		}
		return mem, b, virtqueuetest.New(mem, 0, size, false)
	}
	for _, command := range [][]byte{{4, 0, 1, 0}, {4, 0, 2, 0}, {4, 0, 3, 0}, {4, 0, 0, 0}, {1, 2, 3}} {
		_, b, driver := memory()
		copy(b[1024:], command)
		for i := range 3 {
			n := uint32(len(command))
			driver.Add([]virtqueuetest.Buffer{{Addr: 1024, Len: 1}, {Addr: 1025, Len: n - 1}}, []virtqueuetest.Buffer{{Addr: uint64(2048 + i), Len: 1}})
		}
		driver.Publish()
		f.Add(b[:2048])
	}
	f.Fuzz(func(t *testing.T, written []byte) {
		mem, b, driver := memory()
		path := &pairsOn{on: make([]bool, pairs)}
		d, err := newDevice(mem, path, Config{Pairs: pairs})
		if err != nil {
			t.Fatal(err)
		}
		d.running = make([]device.Queue, 2*pairs)
		for i := range d.running {
			if i/2 != absent {
				d.running[i].Size = size
			}
		}
		copy(b[:4096], written)
		q, err := virtqueue.New(mem, driver.Layout, virtqueue.Options{Indirect: true}, 0)
		if err != nil {
			return // the used ring was not empty
		}
		var c virtqueue.Chain
		for {
			ok, err := q.Pop(&c)
			if !ok || err != nil {
				break
			}
			n, err := d.command(&c)
			if err != nil {
				break
			}
			if n != 1 {
				t.Fatalf("a status of %d bytes", n)
			}
			q.Push(&c, n)
		}
		if path.on[absent] || path.on[absent+1] {
			t.Fatalf("enabled pairs: %v", path.on)
		}
	})
}
