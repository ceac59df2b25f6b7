package virtio

import (
	"math/bits"
	"strconv"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// Queue is a split virtqueue (virtio 1.2 §2.7). Its driver calls Add, Kick,
// Take and Free with a lock of its own held. Wait takes no lock, and runs
// while others use the queue.
//
// The rings lie in memory that the device can write, all of it, at any time.
// So nothing in them is read but what only the device knows: its index, its
// elements, its wishes. All else is kept here.
type Queue struct {
	dev    *Device
	index  int
	size   int
	events bool // FeatureEventIndex

	desc      []descriptor
	avail     *uint32   // flags and idx of the driver's ring, in one word
	slots     []uint16  // the driver's ring
	usedEvent *uint32   // where we want the next interrupt, in the lower half
	used      *uint32   // flags and idx of the device's ring
	elements  []element // the device's ring
	wanted    *uint32   // where the device wants the next notification, in the lower half

	next   []uint16 // descriptors in a chain, or in the free list from free on
	free   uint16
	nfree  int
	chains []chain  // by first descriptor
	tables []Buffer // of indirect descriptors, by first descriptor/tablesOfPage; nil: not agreed on

	head   uint16        // chains made available, the driver's idx
	kicked uint16        // head at the last Kick
	tail   atomic.Uint32 // used chains taken, modulo 1<<16

	broken atomic.Bool
	woken  atomic.Bool         // by Wake, and not seen by Wait
	irq    *platform.Interrupt // nil: the device's shared one, which wakes waiter
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

// A chain of a few buffers lies in a table of its own, so that it takes one
// descriptor of the queue (§2.7.5.3). Each first descriptor has its table; they
// are made a page at a time, when the first is needed.
const (
	tableMin     = 3
	tableMax     = 16
	tableSize    = tableMax * descSize
	tablesOfPage = platform.PageSize / tableSize
	descSize     = 16
)

// element is struct virtq_used_elem (§2.7.8).
type element struct{ id, len uint32 }

// usedNoNotify is the flag of the device's ring: it needs no notifications
// (§2.7.10). availNoInterrupt is that of the driver's.
const (
	usedNoNotify     = 1
	availNoInterrupt = 1
)

// chain is a chain of descriptors that the device has.
type chain struct {
	token int
	parts uint16 // descriptors; 0: the device has no such chain
	room  uint32 // bytes that it may write
}

const maxQueueSize = 1 << 15

// mostOwn is how many queues of a device have interrupts of their own: the
// machine has 64 for all devices, and a queue for each of its CPUs may be many.
const mostOwn = 8

// NewQueue sets queue i up with at most max entries, a power of two, before
// Start. ENODEV: the device has no such queue.
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

	// Descriptors, the driver's ring, the device's: each begins on a cache
	// line of its own (§2.7 asks for 16, 2 and 4 bytes). Both rings end with
	// a 16-bit index that is accessed as 32.
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

// Size is the number of entries.
func (q *Queue) Size() int { return q.size }

// Free is the number of buffers that can surely be added.
func (q *Queue) Free() int { return q.nfree }

// Broken says whether the device lied, failed or was shut down: it gives
// nothing back any more.
func (q *Queue) Broken() bool { return q.broken.Load() }

// Add gives the device one chain of buffers: out to read, in to write. token
// is the driver's name for it, which Take returns. At least one byte must be
// in them. false: the queue is full, or broken.
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
	// The index stands in the upper half. With a full barrier: the device
	// sees what was written before, and Kick reads what it wants after.
	atomic.AddUint32(q.avail, 1<<16)
	return true
}

// Kick tells the device of what was added since the last Kick, if it wants to
// know.
func (q *Queue) Kick() {
	if q.ShouldNotify() {
		q.Notify()
	}
}

// Due says whether the device wants to know, by Notify, of what was added since
// it was asked last (§2.7.10, §2.7.7.2). Until it has been told, it does not want
// to know of what is added then: it will see that, too.
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

// Notify tells the device. Any goroutine may call it.
func (q *Queue) Notify() { q.dev.Notify(q.index) }

// Take returns the token of the next chain that the device has used, and how
// many bytes it says it wrote: never more than there is room for. false: there
// is none, or the queue is broken.
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
		// Some devices count what they read (§2.7.8.2, vhost before Linux
		// 5.17): no harm is done where they can write nothing.
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

// fill describes the buffers, parts of them, in descriptors from the free list.
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

// fill describes the buffers, parts of them, in a table.
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

// each calls fn with every buffer that is not empty, and the flags it has.
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

// table is the table of a chain of parts buffers that begins with descriptor
// head; nil: it is to have none.
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

// Wait parks the calling goroutine until there may be used buffers. One
// goroutine may wait. false: the queue is broken, and none will come.
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

// Wake ends the Wait that is going on, or the next one, for its caller to look
// at something else that has changed. Any goroutine may call it.
func (q *Queue) Wake() {
	q.woken.Store(true)
	q.wake()
}

// enableInterrupt asks for an interrupt at the next used buffer, with a full
// barrier before its caller looks for one (§2.7.10, §2.7.7.1).
func (q *Queue) enableInterrupt(tail uint16) {
	if q.events {
		atomic.StoreUint32(q.usedEvent, uint32(tail))
	} else {
		atomic.AndUint32(q.avail, ^uint32(availNoInterrupt))
	}
}

// disableInterrupt asks for none while the driver is looking anyway. An event
// index needs no word for it: it stands still.
func (q *Queue) disableInterrupt() {
	if !q.events {
		atomic.OrUint32(q.avail, availNoInterrupt)
	}
}

// wake has Wait look again.
func (q *Queue) wake() {
	if q.irq != nil {
		q.irq.Fire()
	} else {
		q.waiter.Wake()
	}
}
