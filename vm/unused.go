//go:build pith

package runtime

// Memory that the Go runtime does not use (its sysUnused) it often uses again in
// the next cycle of its garbage collector. To take a page out of the tables of
// all CPUs and to make another costs far more here than a system call of Linux,
// so the last ranges that it gave back are kept: what it uses again of them
// (sysUsed) has lost nothing.

// Advice of the runtime's to madvise(2), and nobody else's.
const (
	adviceUnused = 0x1000 // as MADV_FREE: adviceUsed comes before a use
	adviceUsed   = 0x1001
)

const (
	vmUnusedRanges = 256
	vmUnusedMost   = 64 << 10 // bytes of a range: what the scavenger works in
	vmUnusedShare  = 64       // of the memory, one part in, is kept at most
)

// vmUnused are the ranges, a ring in the order of their coming; those without
// bytes are free.
type vmUnused struct {
	ranges [vmUnusedRanges]vmRange
	next   uintptr // the first to go
	bytes  uintptr
}

type vmRange struct{ addr, n uintptr }

//go:nosplit
func (u *vmUnused) at(i uintptr) *vmRange { return &u.ranges[i%vmUnusedRanges] }

// add keeps a range, and discards the oldest if that is too much.
//
//go:nosplit
func (u *vmUnused) add(addr, n uintptr) uintptr {
	if n > vmUnusedMost {
		return vmnucleus(callDiscard, addr, n, 0, 0)
	}
	u.bytes += n
	for i := uintptr(0); i < vmUnusedRanges; i++ {
		switch old := u.at(i); {
		case old.n == 0:
		case old.addr+old.n == addr:
			old.n += n
			return u.shrink()
		case addr+n == old.addr:
			old.addr, old.n = addr, old.n+n
			return u.shrink()
		}
	}
	r := u.discard()
	*u.at(u.next - 1) = vmRange{addr, n}
	return r | u.shrink()
}

// shrink discards the oldest ranges until what is left may be kept.
//
//go:nosplit
func (u *vmUnused) shrink() (r uintptr) {
	for u.bytes > vmSharedPage().memory/vmUnusedShare {
		r |= u.discard()
	}
	return r
}

// discard frees the next place.
//
//go:nosplit
func (u *vmUnused) discard() uintptr {
	r := u.at(u.next)
	u.next++
	if r.n == 0 {
		return 0
	}
	old := *r
	r.n = 0
	u.bytes -= old.n
	return vmnucleus(callDiscard, old.addr, old.n, 0, 0)
}

// remove keeps nothing of what lies in a range any longer: it is in use, or
// another's.
//
//go:nosplit
func (u *vmUnused) remove(addr, n uintptr) {
	if u.bytes == 0 {
		return
	}
	end := addr + n
	for i := uintptr(0); i < vmUnusedRanges; i++ {
		r := u.at(i)
		last := r.addr + r.n
		switch {
		case r.n == 0 || r.addr >= end || last <= addr:
		case r.addr < addr:
			u.bytes -= last - addr
			r.n = addr - r.addr
			if last > end {
				u.add(end, last-end)
			}
		case last > end:
			u.bytes -= end - r.addr
			*r = vmRange{end, last - end}
		default:
			u.bytes -= r.n
			r.n = 0
		}
	}
}
