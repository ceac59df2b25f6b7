package virtqueue

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// regionAlign divides both addresses of a region and its length, in bytes. So the
// aligned 32 bits around a field of a ring lie inside the region. Mappings are of
// whole pages, so this is no restriction.
const regionAlign = 8

// Region is a range of guest memory.
type Region struct {
	Addr uint64 // guest-physical address of the first byte
	Mem  []byte // the mapping in this process
}

// Memory is the memory of a guest. It does not change: if the guest's memory
// changes, the device makes a new Memory and new queues.
type Memory struct {
	regions []Region // sorted by address
}

// NewMemory returns the memory that consists of regions, which must not overlap.
func NewMemory(regions []Region) (*Memory, error) {
	sorted := slices.Clone(regions)
	slices.SortFunc(sorted, func(a, b Region) int { return cmp.Compare(a.Addr, b.Addr) })
	free := uint64(0) // the first address after the previous region
	for i, r := range sorted {
		n := uint64(len(r.Mem))
		host := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(r.Mem))))
		switch {
		case n == 0:
			return nil, fmt.Errorf("virtqueue: guest memory at %#x is empty", r.Addr)
		case (r.Addr|n|host)%regionAlign != 0:
			return nil, fmt.Errorf("virtqueue: guest memory at %#x, %#x bytes, is not aligned to %d bytes", r.Addr, n, regionAlign)
		case n > math.MaxUint64-r.Addr:
			return nil, fmt.Errorf("virtqueue: guest memory at %#x, %#x bytes, goes beyond the last address", r.Addr, n)
		case i > 0 && r.Addr < free:
			return nil, fmt.Errorf("virtqueue: guest memory at %#x overlaps other memory", r.Addr)
		}
		free = r.Addr + n
	}
	return &Memory{regions: sorted}, nil
}

// Regions returns the regions, sorted by address. The caller must not change them.
func (m *Memory) Regions() []Region { return m.regions }

// from returns the memory from addr to the end of its region, or nil if addr is in
// no region.
func (m *Memory) from(addr uint64) []byte {
	for i := range m.regions {
		r := &m.regions[i]
		if off := addr - r.Addr; addr >= r.Addr && off < uint64(len(r.Mem)) {
			return r.Mem[off:]
		}
	}
	return nil
}

// Slice returns n bytes of guest memory at addr. It reports false unless all of them
// lie in one region.
func (m *Memory) Slice(addr, n uint64) ([]byte, bool) {
	b := m.from(addr)
	if n > uint64(len(b)) || b == nil {
		return nil, false
	}
	return b[:n:n], true
}

var errOutside = errors.New("a buffer lies outside of guest memory")

// appendTo appends n bytes of guest memory at addr to pieces. It adds one piece for
// each region that they lie in.
func (m *Memory) appendTo(pieces [][]byte, addr, n uint64) ([][]byte, error) {
	for {
		b := m.from(addr)
		if b == nil {
			return pieces, errOutside
		}
		if n <= uint64(len(b)) {
			return append(pieces, b[:n:n]), nil
		}
		pieces = append(pieces, b[:len(b):len(b)])
		n -= uint64(len(b))
		addr += uint64(len(b))
	}
}
