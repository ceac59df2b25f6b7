package virtio

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Queue is a split virtqueue (virtio 1.2 §2.7). Its driver must hold a lock of
// its own while it calls Add, Kick, Take and Free. Wait needs no lock, and may
// run while others use the queue.
//
// The device can write to all of the rings' memory at any time. The driver
// therefore reads from it only what the device alone knows: its index, its used
// elements and its notification settings. All other state is kept outside the
// rings.
type Queue struct {
	dev    *Device
	index  int
	size   int
	events bool // FeatureEventIndex was accepted

	desc      []descriptor
	avail     *uint32   // flags and idx of the available ring, in one word
	slots     []uint16  // the available ring
	usedEvent *uint32   // lower half: index of the next used buffer to interrupt for
	used      *uint32   // flags and idx of the used ring
	elements  []element // the used ring
	wanted    *uint32   // lower half: index of the next available buffer that the device wants a notification for

	next   []uint16 // links of descriptors in a chain, or in the free list that begins at free
	free   uint16
	nfree  int
	chains []chain  // by first descriptor
	tables []Buffer // indirect descriptor tables, by first descriptor/tablesOfPage; nil without FeatureIndirect

	head   uint16        // available chains so far: the driver's idx
	kicked uint16        // head at the last ShouldNotify
	tail   atomic.Uint32 // used chains taken so far, modulo 1<<16

	broken atomic.Bool
	woken  atomic.Bool         // Wake was called, and Wait has not returned since
	irq    *platform.Interrupt // nil: the device's shared interrupt, which wakes waiter
	waiter platform.Waiter
}

// descriptor is struct virtq_desc (§2.7.5).
type descriptor struct {
	addr  uint64
	len   uint32
	flags uint16
	next  uint16
}

// Flags of a descriptor.
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
)

// A chain of a few buffers uses an indirect descriptor table, so that it takes
// one descriptor of the queue (§2.7.5.3). Each first descriptor has a table.
// The tables are allocated a page at a time, when first needed.
const (
	tableMin     = 3
	tableMax     = 16
	tableSize    = tableMax * descSize
	tablesOfPage = platform.PageSize / tableSize
	descSize     = 16
)

// element is struct virtq_used_elem (§2.7.8).
type element struct{ id, len uint32 }

// usedNoNotify is the flag in the used ring that the device needs no
// notifications (§2.7.10). availNoInterrupt is the driver's flag in the
// available ring.
const (
	usedNoNotify     = 1
	availNoInterrupt = 1
)

// chain is a chain of descriptors in flight.
type chain struct {
	token int
	parts uint16 // number of descriptors; 0: not in flight
	room  uint32 // bytes that the device may write
}

const maxQueueSize = 1 << 15

// mostOwn is how many queues of a device may have interrupts of their own. The
// VM has 64 interrupts for all devices, and a queue for each vCPU could take
// too many.
const mostOwn = 8

// NewQueue sets queue i up with at most max entries, rounded down to a power of
// two. It must be called before Start. It returns ENODEV when the device has no
// such queue.
func (d *Device) NewQueue(i, max int) (*Queue, linux.Errno) {
	size := min(d.QueueSize(i), max, maxQueueSize)
	if size < 2 {
		return nil, linux.ENODEV
	}
	size = 1 << (bits.Len(uint(size)) - 1)
	own, _ := d.OwnInterrupts()
	own = own && len(d.queues) < mostOwn
	irq, errno := d.interrupt(own)
	if errno != 0 {
		return nil, errno
	}

	// Descriptors, available ring and used ring each begin on a cache line (§2.7
	// requires an alignment of 16, 2 and 4 bytes). Both rings end with a 16-bit
	// index that is accessed as 32 bits.
	const line = 64
	driver := size * descSize
	device := (driver + 4 + 2*size + 4 + line - 1) &^ (line - 1)
	mem, errno := d.alloc(device + 4 + 8*size + 4)
	if errno != 0 {
		return nil, errno
	}
	at := func(off int) unsafe.Pointer { return unsafe.Pointer(&mem.Mem[off]) }
	q := &Queue{
		dev: d, index: i, size: size, events: d.Has(FeatureEventIndex),
		desc:      unsafe.Slice((*descriptor)(at(0)), size),
		avail:     (*uint32)(at(driver)),
		slots:     unsafe.Slice((*uint16)(at(driver+4)), size),
		usedEvent: (*uint32)(at(driver + 4 + 2*size)),
		used:      (*uint32)(at(device)),
		elements:  unsafe.Slice((*element)(at(device+4)), size),
		wanted:    (*uint32)(at(device + 4 + 8*size)),
		next:      make([]uint16, size),
		nfree:     size,
		chains:    make([]chain, size),
	}
	for n := range q.next {
		q.next[n] = uint16(n + 1)
	}
	if d.Has(FeatureIndirect) {
		q.tables = make([]Buffer, (size+tablesOfPage-1)/tablesOfPage)
	}
	if own {
		q.irq = irq
	}
	if errno := d.SetQueue(i, size, mem.Phys, mem.Phys+uint64(driver), mem.Phys+uint64(device), irq); errno != 0 {
		return nil, errno
	}
	q.disableInterrupt()
	d.queues = append(d.queues, q)
	return q, 0
}

// Size returns the number of entries.
func (q *Queue) Size() int { return q.size }

// Free returns a number of buffers that can certainly be added.
func (q *Queue) Free() int { return q.nfree }

// Broken reports whether the device lied, failed or was shut down. It then
// returns no more buffers.
func (q *Queue) Broken() bool { return q.broken.Load() }

// Add makes one chain of buffers available to the device: out for it to read,
// in for it to write. Take returns token when the device has used the chain.
// The buffers must have at least one byte. Add returns false when the queue is
// full or broken.
func (q *Queue) Add(out, in []Buffer, token int) bool {
	c := chain{token: token}
	for _, b := range out {
		if b.len() > 0 {
			c.parts++
		}
	}
	for _, b := range in {
		if b.len() > 0 {
			c.parts++
			c.room += uint32(b.len())
		}
	}
	if c.parts == 0 || q.nfree == 0 || q.broken.Load() {
		return false
	}
	head := q.free
	if table, phys := q.table(head, c.parts); table != nil {
		q.free = q.next[head]
		q.desc[head] = descriptor{phys, uint32(c.parts) * descSize, descIndirect, 0}
		fill(table, out, in, int(c.parts))
		c.parts = 1
	} else if int(c.parts) <= q.nfree {
		q.fill(out, in, int(c.parts))
	} else {
		return false
	}
	q.nfree -= int(c.parts)
	q.chains[head] = c
	q.slots[int(q.head)&(q.size-1)] = head
	q.head++
	// The index is the upper half. The full barrier has two effects. The device
	// sees the descriptors before the index. ShouldNotify reads the device's
	// settings after the index is written.
	atomic.AddUint32(q.avail, 1<<16)
	return true
}

// Kick notifies the device of the buffers added since the last Kick, if it
// wants that.
func (q *Queue) Kick() {
	if q.ShouldNotify() {
		q.Notify()
	}
}

// ShouldNotify reports whether the device wants a notification for the buffers
// added since the last call (virtio 1.2 §2.7.7.2, §2.7.10). The device needs no
// notification for buffers added before Notify is called: it will see them,
// too.
func (q *Queue) ShouldNotify() bool {
	if q.head == q.kicked {
		return false
	}
	last := q.kicked
	q.kicked = q.head
	if q.events {
		event := uint16(atomic.LoadUint32(q.wanted))
		return q.head-event-1 < q.head-last
	}
	return atomic.LoadUint32(q.used)&usedNoNotify == 0
}

// Notify notifies the device. Any goroutine may call it.
func (q *Queue) Notify() { q.dev.Notify(q.index) }

// Take returns the token of the next chain that the device has used, and how
// many bytes the device has written. n is never more than the chain has room
// for. Take returns false when no chain is used, or when the queue is broken.
func (q *Queue) Take() (token, n int, ok bool) {
	tail := uint16(q.tail.Load())
	pending := q.usedIndex() - tail
	if pending == 0 || q.broken.Load() {
		return 0, 0, false
	}
	if int(pending) > q.size {
		q.lied("it used " + strconv.Itoa(int(pending)) + " buffers of a queue of " + strconv.Itoa(q.size))
		return 0, 0, false
	}
	e := &q.elements[int(tail)&(q.size-1)]
	id, written := atomic.LoadUint32(&e.id), atomic.LoadUint32(&e.len)
	if id >= uint32(q.size) || q.chains[id].parts == 0 {
		q.lied("it used buffer " + strconv.Itoa(int(id)) + ", which it was not given")
		return 0, 0, false
	}
	c := &q.chains[id]
	if c.room == 0 {
		// Some devices count the bytes that they read (§2.7.8.2, vhost before Linux
		// 5.17). That is harmless if they cannot write.
		written = 0
	}
	if written > c.room {
		q.lied("it wrote " + strconv.Itoa(int(written)) + " bytes where there is room for " + strconv.Itoa(int(c.room)))
		return 0, 0, false
	}
	last := uint16(id)
	for range c.parts - 1 {
		last = q.next[last]
	}
	q.next[last] = q.free
	q.free = uint16(id)
	q.nfree += int(c.parts)
	c.parts = 0
	q.tail.Store(uint32(tail + 1))
	return c.token, int(written), true
}

// fill describes the buffers in parts descriptors of the free list.
func (q *Queue) fill(out, in []Buffer, parts int) {
	each(out, in, func(b Buffer, flags uint16) {
		if parts--; parts > 0 {
			flags |= descNext
		}
		n := q.free
		q.free = q.next[n]
		q.desc[n] = descriptor{b.Phys, uint32(b.len()), flags, q.free}
	})
}

// fill describes the buffers in the first parts entries of a table.
func fill(table []descriptor, out, in []Buffer, parts int) {
	n := 0
	each(out, in, func(b Buffer, flags uint16) {
		if n < parts-1 {
			flags |= descNext
		}
		table[n] = descriptor{b.Phys, uint32(b.len()), flags, uint16(n + 1)}
		n++
	})
}

// each calls fn with every buffer that is not empty, and its flags.
func each(out, in []Buffer, fn func(b Buffer, flags uint16)) {
	for _, b := range out {
		if b.len() > 0 {
			fn(b, 0)
		}
	}
	for _, b := range in {
		if b.len() > 0 {
			fn(b, descWrite)
		}
	}
}

// table returns the table for a chain of parts buffers that begins with
// descriptor head. It returns nil when the chain should have none.
func (q *Queue) table(head, parts uint16) ([]descriptor, uint64) {
	if q.tables == nil || parts < tableMin || parts > tableMax {
		return nil, 0
	}
	page := &q.tables[head/tablesOfPage]
	if page.Mem == nil {
		var errno linux.Errno
		if *page, errno = Alloc(platform.PageSize); errno != 0 {
			return nil, 0
		}
	}
	b := page.Slice(int(head%tablesOfPage)*tableSize, int(head%tablesOfPage+1)*tableSize)
	return unsafe.Slice((*descriptor)(unsafe.Pointer(&b.Mem[0])), tableMax), b.Phys
}

func (q *Queue) usedIndex() uint16 { return uint16(atomic.LoadUint32(q.used) >> 16) }

func (q *Queue) lied(what string) {
	q.dev.Fail("queue " + strconv.Itoa(q.index) + ": " + what)
}

// Wait parks the calling goroutine until there may be used buffers. Only one
// goroutine may wait. It returns false when the queue is broken and no more
// will come.
func (q *Queue) Wait() bool {
	for {
		if q.broken.Load() {
			return false
		}
		if q.woken.Swap(false) {
			return true
		}
		tail := uint16(q.tail.Load())
		q.enableInterrupt(tail)
		if q.usedIndex() != tail {
			q.disableInterrupt()
			return true
		}
		if q.irq != nil {
			q.irq.Wait()
		} else {
			q.waiter.Wait()
		}
	}
}

// Wake makes the current Wait return, or the next one, so that its caller can
// check for another change. Any goroutine may call it.
func (q *Queue) Wake() {
	q.woken.Store(true)
	q.wake()
}

// enableInterrupt requests an interrupt at the next used buffer. It is a full
// barrier, so the caller can check for used buffers afterwards (§2.7.7.1,
// §2.7.10).
func (q *Queue) enableInterrupt(tail uint16) {
	if q.events {
		atomic.StoreUint32(q.usedEvent, uint32(tail))
	} else {
		atomic.AndUint32(q.avail, ^uint32(availNoInterrupt))
	}
}

// disableInterrupt turns interrupts off while the driver polls anyway. With an
// event index nothing is needed, because the index does not move.
func (q *Queue) disableInterrupt() {
	if !q.events {
		atomic.OrUint32(q.avail, availNoInterrupt)
	}
}

// wake makes Wait check again.
func (q *Queue) wake() {
	if q.irq != nil {
		q.irq.Fire()
	} else {
		q.waiter.Wake()
	}
}
