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

// Guest-physical addresses of the queues and buffers of a Raw driver. Queue i
// starts at i*step.
const (
	Entries = 16
	step    = 0x1000
	Buffers = 0x10_0000
	End     = 0x20_0000
)

// Raw is a driver for all queues of a device. The test controls each step. Raw
// is also the device's Bus. Only one goroutine may use its methods.
type Raw struct {
	Drivers []*virtqueuetest.Driver
	Queues  []device.Queue
	Failed  chan error    // errors of Bus.Fail
	Changed chan struct{} // calls of Bus.ConfigChanged
	Stop    func()        // stops the device; further calls do nothing
	mem     []byte
}

// Begin calls make with new guest memory, starts the device that make returns,
// and stops it when t ends. The device gets features and VERSION_1.
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

// Bytes returns n bytes of memory at addr.
func (r *Raw) Bytes(addr, n uint32) []byte { return r.mem[addr:][:n:n] }

// Kick publishes the chains that were added to a queue, and notifies the
// device.
func (r *Raw) Kick(queue int) {
	r.Drivers[queue].Publish()
	r.Queues[queue].Kick.Signal()
}

// Send copies b to addr and makes it available on a queue. If n is not 0, the
// chain also has a writable buffer of n bytes right behind b.
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

// Lend makes a writable buffer of n bytes at addr available on a queue.
func (r *Raw) Lend(queue int, addr, n uint32) {
	r.Drivers[queue].Add(nil, []virtqueuetest.Buffer{{Addr: uint64(addr), Len: n}})
	r.Kick(queue)
}

// Take waits for the next used chain of a queue. It returns the number of bytes
// that the device wrote.
func (r *Raw) Take(t testing.TB, queue int) (n uint32) {
	t.Helper()
	Eventually(t, fmt.Sprintf("a used chain of queue %d", queue), func() (ok bool) {
		_, n, ok = r.Drivers[queue].Take()
		return ok
	})
	return n
}

// Again makes the first chain of a queue available once more. A loop of Again
// and Used does not allocate.
func (r *Raw) Again(queue int) {
	d := r.Drivers[queue]
	idx := binary.LittleEndian.Uint16(d.Avail[2:])
	copy(d.Avail[4+2*(int(idx)%d.Layout.Size):], d.Avail[4:6])
	flags := binary.LittleEndian.Uint16(d.Avail)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&d.Avail[0])), uint32(flags)|uint32(idx+1)<<16)
	r.Queues[queue].Kick.Signal()
}

// Used waits until the device has used all available chains of a queue.
func (r *Raw) Used(queue int) {
	d := r.Drivers[queue]
	used := (*uint32)(unsafe.Pointer(&d.Used[0]))
	for uint16(atomic.LoadUint32(used)>>16) != binary.LittleEndian.Uint16(d.Avail[2:]) {
		time.Sleep(10 * time.Microsecond)
	}
}

// Lie changes a queue as four bytes of a fuzzer's script say.
func (r *Raw) Lie(op, a, b, v byte) {
	queue := int(a) % len(r.Drivers)
	d := r.Drivers[queue]
	size := d.Layout.Size
	switch op % 4 {
	case 0: // any byte of the rings
		part := [][]byte{d.Desc, d.Avail, d.Used}[int(op/4)%3]
		part[int(b)%len(part)] = v
	case 1: // a descriptor that may be valid
		virtqueuetest.SetDesc(d.Desc, int(b)%size, Buffers+uint64(v)*64, uint32(b)+1, uint16(op/4)&7, uint16(v)%uint16(size))
	case 2:
		d.Add(nil, []virtqueuetest.Buffer{{Addr: Buffers + uint64(b)*64, Len: uint32(v) + 1}})
	default:
		r.Kick(queue)
	}
}
