package memfs

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// region holds the data of a mapped file: one range of addresses, far larger
// than the file. Only the part up to the file's size is accessible. A
// shared mapping is an address in this range, so read, write and all mappings
// see the same bytes without further work. A file that grows keeps its address.
type region struct {
	base     uintptr
	reserved int64
	usable   int64 // accessible bytes from base; a multiple of the page size
	maps     int   // number of mappings; while there are any, base cannot change
}

const (
	// minReserve leaves room to grow. Databases, for example, are mapped while new
	// and grow afterwards.
	minReserve = 16 << 30
	// growStep is the smallest number of bytes that grow makes accessible.
	growStep = 256 << 10
)

// newRegion reserves at least size bytes of addresses, normally far more.
func newRegion(size int64) (*region, linux.Errno) {
	want := int64(minReserve)
	for want < 4*size {
		want *= 2
	}
	// A host may limit the address space; then try less.
	for {
		base, errno := platform.Map(0, uintptr(want), linux.PROT_NONE, linux.MAP_NORESERVE)
		if errno == 0 {
			return &region{base: base, reserved: want}, 0
		}
		if want /= 4; want < size || want < growStep {
			return nil, linux.ENOMEM
		}
	}
}

func (g *region) bytes() []byte {
	return unsafe.Slice((*byte)(platform.Pointer(g.base)), g.usable)
}

// grow makes the first n bytes accessible. When the reserved addresses do not
// suffice, it moves the region, or returns ENOMEM if the region is mapped.
func (g *region) grow(n int64) linux.Errno {
	n = pagesOf(n) * pageSize
	if n <= g.usable {
		return 0
	}
	if n > g.reserved {
		if g.maps > 0 {
			return linux.ENOMEM
		}
		return g.move(n)
	}
	n = min(max(n, g.usable+growStep), g.reserved)
	if errno := platform.Protect(g.base+uintptr(g.usable), uintptr(n-g.usable), linux.PROT_READ|linux.PROT_WRITE); errno != 0 {
		return errno
	}
	g.usable = n
	return 0
}

func (g *region) move(n int64) linux.Errno {
	to, errno := newRegion(n)
	if errno != 0 {
		return errno
	}
	if errno := to.grow(n); errno != 0 {
		to.free()
		return errno
	}
	copy(to.bytes(), g.bytes())
	g.free()
	*g = *to
	return 0
}

// discard zeroes the bytes from off to end and returns whole pages to the host.
func (g *region) discard(off, end int64) {
	lo := min(pagesOf(off)*pageSize, end)
	clear(g.bytes()[off:lo])
	hi := end / pageSize * pageSize
	if lo >= hi || platform.Advise(g.base+uintptr(lo), uintptr(hi-lo), linux.MADV_DONTNEED) != 0 {
		hi = lo
	}
	clear(g.bytes()[hi:end])
}

// free unmaps the region. It ignores the error, because the range is certainly
// mapped.
func (g *region) free() { platform.Unmap(g.base, uintptr(g.reserved)) }
