//go:build pith

package runtime

import (
	"internal/runtime/sys"
	"unsafe"
)

// The runtime makes a heap dump while the world is stopped. The library OS, which owns the
// file, cannot run during that time. So this file collects the dump in memory outside of the
// heap. Package debug writes it to the file when the world runs again.

var pithdump struct {
	first, last *pithdumpchunk
}

// pithdumpsema is 0 while a dump is made.
var pithdumpsema uint32 = 1

type pithdumpchunk struct {
	_    sys.NotInHeap
	next *pithdumpchunk
	n    uintptr // bytes of data
	data [1<<20 - 16]byte
}

// pithdumpwrite replaces write in heapdump.go.
func pithdumpwrite(p unsafe.Pointer, n int32) {
	left := uintptr(n)
	for left > 0 {
		c := pithdump.last
		if c == nil || c.n == uintptr(len(c.data)) {
			next := (*pithdumpchunk)(sysAlloc(unsafe.Sizeof(*c), &memstats.other_sys, "heapdump"))
			if next == nil {
				throw("heapdump: out of memory")
			}
			if c == nil {
				pithdump.first = next
			} else {
				c.next = next
			}
			pithdump.last = next
			c = next
		}
		k := min(left, uintptr(len(c.data))-c.n)
		memmove(unsafe.Pointer(&c.data[c.n]), p, k)
		c.n += k
		p = add(p, k)
		left -= k
	}
}

// pithheapdump dumps the heap, and passes the dump to write piece by piece until write
// returns false.
//
//go:linkname pithheapdump runtime/debug.heapDump
func pithheapdump(write func(p []byte) bool) {
	semacquire(&pithdumpsema)
	stw := stopTheWorld(stwWriteHeapDump)
	// MemStats is on this goroutine's stack, which stays in place while the world is
	// stopped. The system stack is too small for it.
	var m MemStats
	systemstack(func() {
		readmemstats_m(&m)
		writeheapdump_m(0, &m)
	})
	startTheWorld(stw)
	c := pithdump.first
	pithdump.first, pithdump.last = nil, nil
	for more := true; c != nil; {
		more = more && write(c.data[:c.n])
		next := c.next
		sysFree(unsafe.Pointer(c), unsafe.Sizeof(*c), &memstats.other_sys)
		c = next
	}
	semrelease(&pithdumpsema)
}
