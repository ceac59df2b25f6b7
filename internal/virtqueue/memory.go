package virtqueue

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// regionAlign is what a region's two addresses and its length are multiples of,
// so that a ring's aligned words lie wholly inside it. Mappings are of pages.
const regionAlign = 8

// Region is a range of guest-physical addresses from Addr on, and where it is
// mapped here.
type Region struct {
	Addr uint64
	Mem  []byte
}

// Memory is what a guest has of memory. It does not change; a guest that gets
// other memory gets queues anew.
type Memory struct {
	regions []Region // by address
}

// NewMemory is the memory in regions, which do not overlap.
func NewMemory(regions []Region) (*Memory, error) {
	sorted := slices.Clone(regions)
	slices.SortFunc(sorted, func(a, b Region) int { return cmp.Compare(a.Addr, b.Addr) })
	free := uint64(0) // the first address behind the region before
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

// Regions are those of the memory, by address. They are not to be changed.
func (m *Memory) Regions() []Region { return m.regions }

// from is the mapped memory from addr to its region's end, nil if there is none.
func (m *Memory) from(addr uint64) []byte {
	for i := range m.regions {
		r := &m.regions[i]
		if off := addr - r.Addr; addr >= r.Addr && off < uint64(len(r.Mem)) {
			return r.Mem[off:]
		}
	}
	return nil
}

// Slice is n bytes of guest memory at addr, which lie in one region.
func (m *Memory) Slice(addr, n uint64) ([]byte, bool) {
	b := m.from(addr)
	if n > uint64(len(b)) || b == nil {
		return nil, false
	}
	return b[:n:n], true
}

var errOutside = errors.New("a buffer lies outside of guest memory")

// appendTo appends n bytes of guest memory at addr to pieces: one piece, or
// more where regions adjoin.
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
