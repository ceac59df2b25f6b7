package devicetest

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// Where the queues and the buffers of a Raw driver are, in guest-physical
// addresses: a step for each queue.
const (
	Entries = 16
	step    = 0x1000
	Buffers = 0x10_0000
	End     = 0x20_0000
)

// Raw is a driver of all queues of a device that does what a test says, and is
// the device's Bus. Its methods are for one goroutine.
type Raw struct {
	Drivers []*virtqueuetest.Driver
	Queues  []device.Queue
	Failed  chan error    // by the device
	Changed chan struct{} // of the configuration
	Stop    func()        // stops the device, once
	mem     []byte
}

// Begin starts the device that make makes for a memory, with features and
// VERSION_1, and stops it when t ends.
func Begin[D device.Device](t testing.TB, features uint64, make func(mem *virtqueue.Memory) D) (D, *Raw) {
	t.Helper()
	r, mem := newRaw(t)
	d := make(mem)
	for i, n := range d.Queues() {
		q := virtqueuetest.New(mem, uint64(i*step), min(n, Entries), features&device.FeatureEventIdx != 0)
		r.Drivers = append(r.Drivers, q)
		r.Queues = append(r.Queues, device.Queue{Layout: q.Layout, Kick: Event(t), Call: Event(t)})
	}
	if err := d.Start(features|device.FeatureVersion1, r.Queues, r); err != nil {
		t.Fatal(err)
	}
	r.Stop = sync.OnceFunc(d.Stop)
	t.Cleanup(r.Stop)
	return d, r
}

func newRaw(t testing.TB) (*Raw, *virtqueue.Memory) {
	t.Helper()
	r := &Raw{Failed: make(chan error, 64), Changed: make(chan struct{}, 64), mem: Pages(t, End)}
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: r.mem}})
	if err != nil {
		t.Fatal(err)
	}
	return r, mem
}

// Fail implements device.Bus.
func (r *Raw) Fail(err error) { r.Failed <- err }

// ConfigChanged implements device.Bus.
func (r *Raw) ConfigChanged() { r.Changed <- struct{}{} }

// Bytes is n bytes of memory at addr.
func (r *Raw) Bytes(addr, n uint32) []byte { return r.mem[addr:][:n:n] }

// Kick shows the device what was added to a queue, and notifies it.
func (r *Raw) Kick(queue int) {
	r.Drivers[queue].Publish()
	r.Queues[queue].Kick.Signal()
}

// Send makes b available on a queue, at addr, and behind it room for n bytes if
// n is not 0.
func (r *Raw) Send(queue int, addr uint32, b []byte, n uint32) {
	copy(r.mem[addr:], b)
	out := []virtqueuetest.Buffer{{Addr: uint64(addr), Len: uint32(len(b))}}
	var in []virtqueuetest.Buffer
	if n > 0 {
		in = append(in, virtqueuetest.Buffer{Addr: uint64(addr) + uint64(len(b)), Len: n})
	}
	r.Drivers[queue].Add(out, in)
	r.Kick(queue)
}

// Lend makes room for n bytes available on a queue, at addr.
func (r *Raw) Lend(queue int, addr, n uint32) {
	r.Drivers[queue].Add(nil, []virtqueuetest.Buffer{{Addr: uint64(addr), Len: n}})
	r.Kick(queue)
}

// Take waits for the next used chain of a queue, and returns how much of it was
// written.
func (r *Raw) Take(t testing.TB, queue int) (n uint32) {
	t.Helper()
	Eventually(t, fmt.Sprintf("a used chain of queue %d", queue), func() (ok bool) {
		_, n, ok = r.Drivers[queue].Take()
		return ok
	})
	return n
}

// Again makes the first chain of a queue available again, in a loop of calls of
// it and of Used, which allocate nothing.
func (r *Raw) Again(queue int) {
	d := r.Drivers[queue]
	idx := binary.LittleEndian.Uint16(d.Avail[2:])
	copy(d.Avail[4+2*(int(idx)%d.Layout.Size):], d.Avail[4:6])
	flags := binary.LittleEndian.Uint16(d.Avail)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&d.Avail[0])), uint32(flags)|uint32(idx+1)<<16)
	r.Queues[queue].Kick.Signal()
}

// Used waits until all that is available in a queue was used.
func (r *Raw) Used(queue int) {
	d := r.Drivers[queue]
	used := (*uint32)(unsafe.Pointer(&d.Used[0]))
	for uint16(atomic.LoadUint32(used)>>16) != binary.LittleEndian.Uint16(d.Avail[2:]) {
		time.Sleep(10 * time.Microsecond)
	}
}

// Lie does to a driver's memory what four bytes of a fuzzer's script say.
func (r *Raw) Lie(op, a, b, v byte) {
	queue := int(a) % len(r.Drivers)
	d := r.Drivers[queue]
	size := d.Layout.Size
	switch op % 4 {
	case 0: // any byte of the rings
		part := [][]byte{d.Desc, d.Avail, d.Used}[int(op/4)%3]
		part[int(b)%len(part)] = v
	case 1: // a descriptor that may be right
		virtqueuetest.SetDesc(d.Desc, int(b)%size, Buffers+uint64(v)*64, uint32(b)+1, uint16(op/4)&7, uint16(v)%uint16(size))
	case 2:
		d.Add(nil, []virtqueuetest.Buffer{{Addr: Buffers + uint64(b)*64, Len: uint32(v) + 1}})
	default:
		r.Kick(queue)
	}
}
