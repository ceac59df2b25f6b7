package memfs

import (
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// region is where the data of a mapped file live: one range of addresses, far
// larger than the file, of which the file's size is accessible. A shared
// mapping is an address in it, so that read, write and all mappings see the
// same bytes without any work, and a file that grows stays where it is.
type region struct {
	base     uintptr
	reserved int64
	usable   int64 // accessible, from base; a multiple of the page size
	maps     int   // mappings, which fix base
}

const (
	// minReserve leaves room for what programs do: a database is mapped
	// when it is new, and grows.
	minReserve = 16 << 30
	// growStep is the least that becomes accessible at a time.
	growStep = 256 << 10
)

// newRegion reserves addresses for size bytes and much more.
func newRegion(size int64) (*region, linux.Errno) {
	want := int64(minReserve)
	for want < 4*size {
		want *= 2
	}
	// A host may limit addresses; then take what there is.
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

// grow makes the first n bytes accessible. The region moves when its addresses
// do not suffice, unless it is mapped: ENOMEM.
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

// discard makes the bytes from off to end zero and gives whole pages back.
func (g *region) discard(off, end int64) {
	lo := min(pagesOf(off)*pageSize, end)
	clear(g.bytes()[off:lo])
	hi := end / pageSize * pageSize
	if lo >= hi || platform.Advise(g.base+uintptr(lo), uintptr(hi-lo), linux.MADV_DONTNEED) != 0 {
		hi = lo
	}
	clear(g.bytes()[hi:end])
}

// free gives the addresses back. That they were mapped is certain, so there is
// no error to handle.
func (g *region) free() { platform.Unmap(g.base, uintptr(g.reserved)) }
