// Package virtqueue is the device's side of split virtqueues (virtio 1.2 §2.7) in
// guest memory that this process has mapped. Devices use it. It knows neither the
// devices nor the VM: the memory may be QEMU's, shared through vhost-user, or that
// of our own VMM.
//
// The driver is not trusted. The package reads each field that the driver writes
// once, and checks it. After a lie the queue is broken: each call returns the same
// error until the device makes a new queue. The driver may change the contents of
// a buffer while the device reads it. So a device must copy the data that it makes
// decisions on.
//
// Pop, Push and Flush do not allocate once a Chain's slices have grown.
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
	// maxIndirect is the largest number of entries of an indirect table. The
	// specification's limit is the queue's size, which Linux exceeds on small
	// queues.
	maxIndirect = 1024
)

// Flags of the available ring (§2.7.7) and of the used ring (§2.7.10). With them
// each side tells the other that it needs no interrupt or notification.
const (
	availNoInterrupt = 1
	usedNoNotify     = 1
)

// Layout is the place of a queue, in guest-physical addresses.
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

	next      uint16 // index in the available ring that Pop takes next
	avail     uint16 // the driver's index as last read
	used      uint16 // index in the used ring for the next Push
	published uint16 // the used ring's index that the driver sees
	flags     uint16 // flags of the used ring
	err       error  // why the queue is broken, or nil
}

// Chain is one chain of buffers. The next Pop into the same Chain reuses its slices.
type Chain struct {
	Out    [][]byte // buffers that the device reads
	In     [][]byte // buffers that the device writes
	OutLen int      // bytes in Out
	InLen  int      // bytes in In
	head   uint16
}

// New returns the queue at l. The device takes the chain with index next of the
// available ring first: 0 for a new queue, or the result of [Queue.Next] for one
// that continues.
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
		return nil, fmt.Errorf("virtqueue: the queue continues at available index %d, with used index %d", q.next, q.used)
	}
	return q, nil
}

// Size returns the number of entries.
func (q *Queue) Size() int { return int(q.size) }

// Next returns the available index of the chain that Pop takes next, modulo 1<<16.
func (q *Queue) Next() uint16 { return q.next }

// broken marks the queue as broken and returns the error for all later calls.
func (q *Queue) broken(err error) error {
	q.err = fmt.Errorf("virtqueue: the driver lies: %w", err)
	return q.err
}

// refresh reads the available index. It breaks the queue if more chains are in
// flight than the queue has entries.
func (q *Queue) refresh() error {
	idx := load16(q.driver, 2)
	if int(idx-q.next)+int(q.next-q.used) > int(q.size) {
		return q.broken(fmt.Errorf("available index %d, with %d taken and %d used of %d entries", idx, q.next, q.used, q.size))
	}
	q.avail = idx
	return nil
}

// Pop takes the next chain that the driver made available. It reports false if no
// chain is available.
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

// Unpop returns the last n chains that Pop took to the available ring, in the same
// order. None of them may have been pushed.
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

// Push marks c as used, with the first written bytes of c.In written. The driver
// sees it after Flush.
func (q *Queue) Push(c *Chain, written int) {
	e := q.device[4+usedElemSize*int(q.used&(q.size-1)):]
	binary.LittleEndian.PutUint32(e[0:], uint32(c.head))
	binary.LittleEndian.PutUint32(e[4:], uint32(written))
	q.used++
}

// Flush makes the pushed chains visible to the driver. It reports whether the driver
// wants an interrupt for them.
func (q *Queue) Flush() (interrupt bool) {
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

// publish stores the used ring's flags and index. Earlier stores are visible before
// it, and later loads happen after it.
func (q *Queue) publish() {
	store32(q.device, 0, uint32(q.flags)|uint32(q.published)<<16)
}

// DisableNotify tells the driver that it need not send notifications. It has no
// effect with EventIndex. Notifications may come nevertheless. They are enabled in
// a new queue.
func (q *Queue) DisableNotify() {
	if !q.opts.EventIndex {
		q.flags |= usedNoNotify
		q.publish()
	}
}

// EnableNotify asks the driver for a notification of the next chain. It reports
// whether a chain is available already. For that one no notification may come.
func (q *Queue) EnableNotify() (more bool) {
	q.flags &^= usedNoNotify
	if q.opts.EventIndex {
		store16(q.device, 4+usedElemSize*int(q.size), q.next)
	}
	q.publish()
	return load16(q.driver, 2) != q.next
}
