package virtqueue

import (
	"sync/atomic"
	"unsafe"
)

// Memory that the driver writes at the same time is read once, by an atomic
// load, or by a copy. All fields are little endian, as is every processor that
// this runs on.

// load16 is the 16-bit field at an even offset of ring. The word around it lies
// in the ring's region, by regionAlign.
func load16(ring []byte, off int) uint16 {
	p := unsafe.Pointer(&ring[off])
	odd := uintptr(p) & 2
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(p, -int(odd)))) >> (8 * odd))
}

// store16 sets the 16-bit field at an even offset of ring. Nothing is ordered
// by it.
func store16(ring []byte, off int, v uint16) {
	*(*uint16)(unsafe.Pointer(&ring[off])) = v
}

// store32 sets the 32-bit word at an aligned offset of ring after all stores
// before it, and before all loads after it.
func store32(ring []byte, off int, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&ring[off])), v)
}
