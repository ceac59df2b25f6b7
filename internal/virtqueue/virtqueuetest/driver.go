// Package virtqueuetest is the driver's side of a split virtqueue (virtio 1.2 §2.7),
// for tests of package virtqueue and of the devices that use it. Its methods are
// honest. A test that needs a lie writes to the queue's memory itself.
package virtqueuetest

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/internal/virtqueue"
)

// Buffer is a range of guest-physical addresses.
type Buffer struct {
	Addr uint64
	Len  uint32
}

// Driver is the driver of one queue. It is not safe for concurrent use.
type Driver struct {
	Layout     virtqueue.Layout
	EventIndex bool
	// Indirect is the guest-physical address of the indirect tables. There is one
	// of IndirectLen entries for each descriptor. 0: the driver uses none.
	Indirect uint64

	Desc, Avail, Used []byte
	mem               *virtqueue.Memory

	free      []uint16            // descriptors
	owned     map[uint16][]uint16 // descriptors of a chain, by its head
	avail     uint16
	published uint16 // avail at the last Publish
	taken     uint16
	fence     uint32
}

// IndirectLen is the number of entries of each indirect table.
const IndirectLen = 32

// Size returns the bytes of memory that New uses for a queue of n entries.
func Size(n int) uint64 {
	const page = 4096
	return uint64(16*n+6+2*n+8*n+6+2*page) &^ (page - 1)
}

// IndirectSize returns the bytes of memory that the indirect tables of n entries
// take.
func IndirectSize(n int) uint64 { return uint64(n * IndirectLen * 16) }

// New returns the driver of a queue of n entries in mem at addr, a multiple of 16.
func New(mem *virtqueue.Memory, addr uint64, n int, eventIndex bool) *Driver {
	driver := addr + uint64(16*n)
	device := (driver + uint64(6+2*n) + 3) &^ 3
	d := &Driver{
		Layout:     virtqueue.Layout{Size: n, Desc: addr, Driver: driver, Device: device},
		EventIndex: eventIndex,
		mem:        mem,
		owned:      map[uint16][]uint16{},
	}
	d.Desc = d.Bytes(Buffer{addr, uint32(16 * n)})
	d.Avail = d.Bytes(Buffer{driver, uint32(6 + 2*n)})
	d.Used = d.Bytes(Buffer{device, uint32(6 + 8*n)})
	clear(d.Desc)
	clear(d.Avail)
	clear(d.Used)
	for i := range n {
		d.free = append(d.free, uint16(i))
	}
	return d
}

// Bytes returns the memory of b, which must lie in one region.
func (d *Driver) Bytes(b Buffer) []byte {
	p, ok := d.mem.Slice(b.Addr, uint64(b.Len))
	if !ok {
		panic("virtqueuetest: a buffer outside of memory")
	}
	return p
}

// SetDesc writes entry i of a table.
func SetDesc(table []byte, i int, addr uint64, n uint32, flags, next uint16) {
	e := table[16*i : 16*i+16]
	binary.LittleEndian.PutUint64(e[0:], addr)
	binary.LittleEndian.PutUint32(e[8:], n)
	binary.LittleEndian.PutUint16(e[12:], flags)
	binary.LittleEndian.PutUint16(e[14:], next)
}

// Add adds a chain to the available ring, for the next Publish. It returns the head
// of the chain, and reports false if the queue is full.
func (d *Driver) Add(out, in []Buffer) (head uint16, ok bool) {
	n := len(out) + len(in)
	table, indexes := d.Desc, []uint16(nil)
	need := n
	if d.Indirect != 0 {
		need = 1
	}
	if n == 0 || len(d.free) < need {
		return 0, false
	}
	used := d.free[:need]
	d.free = d.free[need:]
	indexes = used
	if d.Indirect != 0 {
		at := d.Indirect + uint64(used[0])*IndirectLen*16
		SetDesc(d.Desc, int(used[0]), at, uint32(16*n), 4, 0)
		table = d.Bytes(Buffer{at, uint32(16 * n)})
		indexes = make([]uint16, n)
		for i := range indexes {
			indexes[i] = uint16(i)
		}
	}
	for i := range n {
		var flags, next uint16
		b := Buffer{}
		if i < len(out) {
			b = out[i]
		} else {
			b, flags = in[i-len(out)], 2
		}
		if i+1 < n {
			flags, next = flags|1, indexes[i+1]
		}
		SetDesc(table, int(indexes[i]), b.Addr, b.Len, flags, next)
	}
	d.owned[used[0]] = append([]uint16(nil), used...)
	binary.LittleEndian.PutUint16(d.Avail[4+2*(int(d.avail)%d.Layout.Size):], used[0])
	d.avail++
	return used[0], true
}

// Publish makes the added chains available to the device. It reports whether the
// device wants a notification.
func (d *Driver) Publish() (notify bool) {
	before := d.published
	d.published = d.avail
	// The index may lie at an address that is not a multiple of four, so flags and
	// index are stored as one. The flags do not change while the device runs.
	flags := binary.LittleEndian.Uint16(d.Avail)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&d.Avail[0])), uint32(flags)|uint32(d.avail)<<16)
	if d.avail == before {
		return false
	}
	if d.EventIndex {
		event := d.load(d.Used, 4+8*d.Layout.Size)
		return d.avail-event-1 < d.avail-before
	}
	return d.load(d.Used, 0)&1 == 0
}

// Take returns the head of the next used chain and the number of bytes that the
// device wrote. It reports false if no chain is used.
func (d *Driver) Take() (head uint16, n uint32, ok bool) {
	if d.load(d.Used, 2) == d.taken {
		return 0, 0, false
	}
	e := d.Used[4+8*(int(d.taken)%d.Layout.Size):]
	head = uint16(binary.LittleEndian.Uint32(e))
	n = binary.LittleEndian.Uint32(e[4:])
	d.taken++
	d.free = append(d.free, d.owned[head]...)
	delete(d.owned, head)
	return head, n, true
}

// Listen asks for an interrupt when the device uses the next chain. It reports
// whether there is a used chain already.
func (d *Driver) Listen() (more bool) {
	if d.EventIndex {
		binary.LittleEndian.PutUint16(d.Avail[4+2*d.Layout.Size:], d.taken)
		atomic.AddUint32(&d.fence, 1)
	}
	return d.load(d.Used, 2) != d.taken
}

// load returns the 16-bit field at an even offset of ring.
func (d *Driver) load(ring []byte, off int) uint16 {
	p := unsafe.Pointer(&ring[off])
	odd := uintptr(p) & 2
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(p, -int(odd)))) >> (8 * odd))
}
