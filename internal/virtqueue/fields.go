package virtqueue

import (
	"sync/atomic"
	"unsafe"
)

// The driver may write its memory at any time. So each field is read once, by an
// atomic load or by a copy. All fields are little endian, like every processor
// that this code runs on.

// load16 returns the 16-bit field at an even offset of ring. It loads the aligned 32
// bits around the field, which regionAlign keeps inside the region.
func load16(ring []byte, off int) uint16 {
	p := unsafe.Pointer(&ring[off])
	odd := uintptr(p) & 2
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Add(p, -int(odd)))) >> (8 * odd))
}

// store16 sets the 16-bit field at an even offset of ring. It orders no other
// access.
func store16(ring []byte, off int, v uint16) {
	*(*uint16)(unsafe.Pointer(&ring[off])) = v
}

// store32 sets the 32-bit field at an aligned offset of ring. Earlier stores are
// visible before it, and later loads happen after it.
func store32(ring []byte, off int, v uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&ring[off])), v)
}
