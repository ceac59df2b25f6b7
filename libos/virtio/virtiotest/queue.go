//go:build !pith

package virtiotest

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Queue is the device's side of a split virtqueue (virtio 1.2 §2.7). It trusts
// the driver: a driver's mistake is a panic.
type Queue struct {
	dev      *Device
	max      int
	notified chan struct{}
	onNotify func()

	mu     sync.Mutex // guards the fields below
	size   int        // 0: not enabled
	desc   []descriptor
	avail  *uint32
	slots  []uint16
	event  *uint32 // index for which the driver wants an interrupt
	used   *uint32
	elems  []element
	wanted *uint32 // index for which the device wants a notification
	fire   func()  // interrupts the driver
	seen   uint16  // popped chains so far: idx of the available ring
	pushed uint16  // idx of the used ring
	lied   bool    // Lie or LieIndex was called
}

type descriptor struct {
	addr        uint64
	len         uint32
	flags, next uint16
}

type element struct{ id, len uint32 }

const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4
)

// Chain is a chain of buffers that the driver made available.
type Chain struct {
	ID  uint32   // first descriptor
	Out [][]byte // readable buffers
	In  [][]byte // writable buffers
}

// Bytes returns the content of all readable buffers.
func (c *Chain) Bytes() []byte {
	var all []byte
	for _, b := range c.Out {
		all = append(all, b...)
	}
	return all
}

// Fill writes p to the chain and returns how many bytes fitted.
func (c *Chain) Fill(p []byte) int {
	total := 0
	for _, b := range c.In {
		n := copy(b, p)
		p, total = p[n:], total+n
	}
	return total
}

func at[T any](phys uint64, n int) []T {
	return unsafe.Slice((*T)(platform.Pointer(uintptr(phys))), n)
}

func (q *Queue) set(size int, desc, driver, device uint64, fire func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.desc = at[descriptor](desc, size)
	q.avail = &at[uint32](driver, 1)[0]
	q.slots = at[uint16](driver+4, size)
	q.event = &at[uint32](driver+4+2*uint64(size), 1)[0]
	q.used = &at[uint32](device, 1)[0]
	q.elems = at[element](device+4, size)
	q.wanted = &at[uint32](device+4+8*uint64(size), 1)[0]
	q.fire, q.size, q.seen, q.pushed, q.lied = fire, size, 0, 0, false
}

func (q *Queue) reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.size = 0
}

// Enabled reports whether the driver has set the queue up.
func (q *Queue) Enabled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size > 0
}

// OnNotify sets a function that the driver's goroutine calls when it notifies
// the queue.
func (q *Queue) OnNotify(fn func()) { q.onNotify = fn }

// Serve starts a goroutine that answers every chain with fn. fn returns how
// many bytes it wrote.
func (q *Queue) Serve(fn func(c *Chain) int) {
	go func() {
		for range q.notified {
			for c, ok := q.Pop(); ok; c, ok = q.Pop() {
				q.Push(c, fn(c))
			}
		}
	}()
}

// Pop returns the next available chain. If no chain is available, it
// requests a notification for the next.
func (q *Queue) Pop() (*Chain, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size == 0 {
		return nil, false
	}
	if uint16(atomic.LoadUint32(q.avail)>>16) == q.seen {
		atomic.StoreUint32(q.wanted, uint32(q.seen))
		if uint16(atomic.LoadUint32(q.avail)>>16) == q.seen {
			return nil, false
		}
	}
	id := q.slots[int(q.seen)%q.size]
	q.seen++
	c := &Chain{ID: uint32(id)}
	fault := c.walk(q.desc, id)
	if fault != "" && !q.lied {
		panic("virtiotest: the driver " + fault)
	}
	return c, fault == ""
}

// walk collects the buffers of a chain. It returns what is wrong with the
// chain. After a lie about a used chain, the driver may just be rewriting it.
func (c *Chain) walk(table []descriptor, n uint16) (fault string) {
	for range len(table) {
		d := table[n]
		switch {
		case d.flags&flagIndirect != 0:
			if fault := c.walk(at[descriptor](d.addr, int(d.len)/16), 0); fault != "" {
				return fault
			}
		case d.flags&flagWrite != 0:
			c.In = append(c.In, at[byte](d.addr, int(d.len)))
		case len(c.In) > 0:
			return "puts a readable buffer after a writable one (virtio 1.2 §2.7.4.2)"
		default:
			c.Out = append(c.Out, at[byte](d.addr, int(d.len)))
		}
		if d.flags&flagNext == 0 {
			return ""
		}
		n = d.next
	}
	return "made a chain with a loop"
}

// Push marks c as used, with n bytes written, and interrupts the driver if it
// wants that.
func (q *Queue) Push(c *Chain, n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(c.ID, uint32(n))
}

func (q *Queue) push(id, n uint32) {
	if q.size == 0 {
		return
	}
	e := &q.elems[int(q.pushed)%q.size]
	atomic.StoreUint32(&e.id, id)
	atomic.StoreUint32(&e.len, n)
	old := q.pushed
	q.pushed++
	atomic.StoreUint32(q.used, uint32(q.pushed)<<16)
	var fire bool
	if q.dev.offered&virtio.FeatureEventIndex != 0 {
		fire = q.pushed-uint16(atomic.LoadUint32(q.event))-1 < q.pushed-old
	} else {
		fire = atomic.LoadUint32(q.avail)&1 == 0
	}
	if fire {
		q.fire()
	}
}

// Send writes p to the next available chain, like a device that has received p.
// It returns false when no chain is available.
func (q *Queue) Send(p []byte) bool {
	c, ok := q.Pop()
	if ok {
		q.Push(c, c.Fill(p))
	}
	return ok
}

// Lie adds a used element that need not belong to a chain, and interrupts.
func (q *Queue) Lie(id, n uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size > 0 {
		q.lied = true
		q.push(id, n)
		q.fire()
	}
}

// LieIndex moves the index of the used ring by n, and interrupts.
func (q *Queue) LieIndex(n uint16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size > 0 {
		q.lied = true
		q.pushed += n
		atomic.StoreUint32(q.used, uint32(q.pushed)<<16)
		q.fire()
	}
}

// Device returns the device of the queue.
func (q *Queue) Device() *Device { return q.dev }

// Scribble overwrites all memory shared with the driver by repetitions of p,
// including the driver's own parts. Chains that were not popped are lost.
func (q *Queue) Scribble(p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size == 0 || len(p) == 0 {
		return
	}
	q.seen = uint16(atomic.LoadUint32(q.avail) >> 16)
	parts := [][]byte{
		unsafe.Slice((*byte)(unsafe.Pointer(&q.desc[0])), 16*q.size),
		unsafe.Slice((*byte)(unsafe.Pointer(&q.slots[0])), 2*q.size),
		unsafe.Slice((*byte)(unsafe.Pointer(q.event)), 4),
		unsafe.Slice((*byte)(unsafe.Pointer(q.used)), 4),
		unsafe.Slice((*byte)(unsafe.Pointer(&q.elems[0])), 8*q.size),
		unsafe.Slice((*byte)(unsafe.Pointer(q.wanted)), 4),
	}
	n := 0
	for _, part := range parts {
		for i := range part {
			part[i] = p[n%len(p)]
			n++
		}
	}
	q.fire()
}

// Described is a chain whose memory is not mapped in the test.
type Described struct {
	ID      uint32
	Out, In []Place
}

// Place is the address and length of a buffer.
type Place struct {
	Phys uint64
	Len  int
}

// PopDescribed is Pop for buffers that are not mapped in the test.
func (q *Queue) PopDescribed() (*Described, bool) {
	c, ok := q.Pop()
	if !ok {
		return nil, false
	}
	d := &Described{ID: c.ID}
	for _, b := range c.Out {
		d.Out = append(d.Out, Place{uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), len(b)})
	}
	for _, b := range c.In {
		d.In = append(d.In, Place{uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), len(b)})
	}
	return d, true
}
