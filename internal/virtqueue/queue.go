// Package virtqueue is the device's side of split virtqueues (virtio 1.2 §2.7)
// over guest memory that is mapped here. Devices stand on it; it knows neither
// them nor who runs the guest: the vhost-user back end gives it what QEMU maps,
// a monitor of our own its guest's memory.
//
// The driver is not trusted. All that it writes is read once and checked: a lie
// breaks the queue, which then refuses work with the same error until it is made
// anew. What a chain's buffers hold may change while the device reads it: a
// device copies what it decides on.
//
// In the steady state nothing is allocated.
package virtqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Descriptor flags (§2.7.5) and sizes of the parts (§2.7).
const (
	flagNext     = 1
	flagWrite    = 2
	flagIndirect = 4

	descSize     = 16
	usedElemSize = 8

	// MaxSize is the largest queue (§2.7).
	MaxSize = 32768
	// maxIndirect bounds an indirect table. The specification's bound is the
	// queue's size, which Linux exceeds on small queues.
	maxIndirect = 1024
)

// Flags by which each side tells the other that it need not be notified
// (§2.7.7, §2.7.10).
const (
	availNoInterrupt = 1
	usedNoNotify     = 1
)

// Layout is where a queue lies, in guest-physical addresses.
type Layout struct {
	Size   int    // entries, a power of two
	Desc   uint64 // descriptor table
	Driver uint64 // available ring
	Device uint64 // used ring
}

// Options are the features that the driver accepted for its queues.
type Options struct {
	EventIndex bool // VIRTIO_F_EVENT_IDX
	Indirect   bool // VIRTIO_F_INDIRECT_DESC
}

// Queue is one virtqueue. It is not safe for concurrent use.
type Queue struct {
	mem  *Memory
	opts Options
	size uint16

	desc   []byte
	driver []byte // flags u16, idx u16, ring [size]u16, used_event u16
	device []byte // flags u16, idx u16, ring [size]{id u32, len u32}, avail_event u16

	next      uint16 // of the available ring
	avail     uint16 // the driver's index as last read
	used      uint16 // of the used ring, for the next chain
	published uint16 // the used ring's index as the driver sees it
	flags     uint16 // of the used ring
	err       error
}

// Chain is one chain of buffers. Its slices are used again by the next Pop.
type Chain struct {
	Out    [][]byte // what the device reads
	In     [][]byte // what the device writes
	OutLen int
	InLen  int
	head   uint16
}

// New is the queue at l, of which the device takes the chain number next of the
// available ring next: 0 for a new queue, [Queue.Next] for one that goes on.
func New(mem *Memory, l Layout, opts Options, next uint16) (*Queue, error) {
	if l.Size <= 0 || l.Size > MaxSize || l.Size&(l.Size-1) != 0 {
		return nil, fmt.Errorf("virtqueue: %d entries: not a power of two up to %d", l.Size, MaxSize)
	}
	q := &Queue{mem: mem, opts: opts, size: uint16(l.Size), next: next, avail: next}
	for _, part := range []struct {
		name    string
		to      *[]byte
		addr    uint64
		n       int
		aligned uint64
	}{
		{"descriptor table", &q.desc, l.Desc, descSize * l.Size, 16},
		{"available ring", &q.driver, l.Driver, 6 + 2*l.Size, 2},
		{"used ring", &q.device, l.Device, 6 + usedElemSize*l.Size, 4},
	} {
		b, ok := mem.Slice(part.addr, uint64(part.n))
		if !ok {
			return nil, fmt.Errorf("virtqueue: the %s at %#x lies outside of guest memory", part.name, part.addr)
		}
		if part.addr%part.aligned != 0 {
			return nil, fmt.Errorf("virtqueue: the %s at %#x is not aligned to %d bytes", part.name, part.addr, part.aligned)
		}
		*part.to = b
	}
	q.used = load16(q.device, 2)
	q.published = q.used
	if q.next-q.used > q.size {
		return nil, fmt.Errorf("virtqueue: begins at available chain %d with %d used", q.next, q.used)
	}
	return q, nil
}

// Size is the number of entries.
func (q *Queue) Size() int { return int(q.size) }

// Next is the number of the chain that Pop takes next, modulo 1<<16.
func (q *Queue) Next() uint16 { return q.next }

func (q *Queue) broken(err error) error {
	q.err = fmt.Errorf("virtqueue: the driver lies: %w", err)
	return q.err
}

// refresh reads how far the driver has come. Chains that it has not got back
// are no more than the queue has entries.
func (q *Queue) refresh() error {
	idx := load16(q.driver, 2)
	if int(idx-q.next)+int(q.next-q.used) > int(q.size) {
		return q.broken(fmt.Errorf("available index %d, with %d taken and %d used of %d entries", idx, q.next, q.used, q.size))
	}
	q.avail = idx
	return nil
}

// Pop takes the next chain that the driver made available, and reports false if
// there is none.
func (q *Queue) Pop(c *Chain) (bool, error) {
	if q.err != nil {
		return false, q.err
	}
	if q.next == q.avail {
		if err := q.refresh(); err != nil {
			return false, err
		}
		if q.next == q.avail {
			return false, nil
		}
	}
	c.head = load16(q.driver, 4+2*int(q.next&(q.size-1)))
	if err := q.follow(c); err != nil {
		return false, q.broken(err)
	}
	q.next++
	return true, nil
}

// Unpop makes the last n chains that Pop took, and that were not pushed,
// available again, in the same order.
func (q *Queue) Unpop(n int) { q.next -= uint16(n) }

var (
	errIndex    = errors.New("a descriptor's index is beyond its table")
	errLoop     = errors.New("a chain of descriptors is longer than their table")
	errEmpty    = errors.New("a buffer is empty")
	errOrder    = errors.New("a buffer to read is behind one to write")
	errLong     = errors.New("a chain is longer than 4 GiB")
	errIndirect = errors.New("an indirect table is not allowed, nested, followed by others or of a wrong length")
)

// follow collects the buffers of the chain that begins at c.head (§2.7.5).
func (q *Queue) follow(c *Chain) error {
	c.Out, c.In = c.Out[:0], c.In[:0]
	var out, in uint64
	table, entries, indirect := q.desc, int(q.size), false
	i, left := int(c.head), entries
	for {
		if i >= entries {
			return errIndex
		}
		if left == 0 {
			return errLoop
		}
		left--
		var d [descSize]byte
		copy(d[:], table[descSize*i:])
		addr := binary.LittleEndian.Uint64(d[0:])
		n := uint64(binary.LittleEndian.Uint32(d[8:]))
		flags := binary.LittleEndian.Uint16(d[12:])
		switch {
		case n == 0:
			return errEmpty
		case flags&flagIndirect != 0:
			if !q.opts.Indirect || indirect || flags&flagNext != 0 || n%descSize != 0 || n > maxIndirect*descSize {
				return errIndirect
			}
			var ok bool
			if table, ok = q.mem.Slice(addr, n); !ok {
				return errOutside
			}
			indirect, entries = true, int(n/descSize)
			i, left = 0, entries
			continue
		}
		var err error
		if flags&flagWrite != 0 {
			c.In, err = q.mem.appendTo(c.In, addr, n)
			in += n
		} else {
			if in > 0 {
				return errOrder
			}
			c.Out, err = q.mem.appendTo(c.Out, addr, n)
			out += n
		}
		if err != nil {
			return err
		}
		if out+in > math.MaxUint32 {
			return errLong
		}
		if flags&flagNext == 0 {
			c.OutLen, c.InLen = int(out), int(in)
			return nil
		}
		i = int(binary.LittleEndian.Uint16(d[14:]))
	}
}

// Push gives c back to the driver, with the first written bytes of c.In
// written. The driver learns of it by Flush.
func (q *Queue) Push(c *Chain, written int) {
	e := q.device[4+usedElemSize*int(q.used&(q.size-1)):]
	binary.LittleEndian.PutUint32(e[0:], uint32(c.head))
	binary.LittleEndian.PutUint32(e[4:], uint32(written))
	q.used++
}

// Flush shows the driver what was pushed, and reports whether it wants to be
// notified of it.
func (q *Queue) Flush() (notify bool) {
	before := q.published
	if q.used == before {
		return false
	}
	q.published = q.used
	q.publish()
	if q.opts.EventIndex {
		event := load16(q.driver, 4+2*int(q.size))
		return q.used-event-1 < q.used-before // §2.7.7.2, vring_need_event of §2.7.10
	}
	return load16(q.driver, 0)&availNoInterrupt == 0
}

// publish stores the used ring's flags and index, between all stores before it
// and all loads after it.
func (q *Queue) publish() {
	store32(q.device, 0, uint32(q.flags)|uint32(q.published)<<16)
}

// DisableNotify lets the driver know, if the features have a way, that it need
// not notify of more chains. Notifications may come nevertheless. They are
// enabled in a new queue.
func (q *Queue) DisableNotify() {
	if !q.opts.EventIndex {
		q.flags |= usedNoNotify
		q.publish()
	}
}

// EnableNotify asks the driver to notify of the first chain after those that
// Pop has taken. It reports whether there is one already, of which no
// notification may come.
func (q *Queue) EnableNotify() (more bool) {
	q.flags &^= usedNoNotify
	if q.opts.EventIndex {
		store16(q.device, 4+usedElemSize*int(q.size), q.next)
	}
	q.publish()
	return load16(q.driver, 2) != q.next
}
