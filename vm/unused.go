//go:build pith

package runtime

// The garbage collector often gives memory back (sysUnused) and uses it again (sysUsed)
// in its next cycle. Unmapping pages needs a TLB shootdown, and mapping them again costs
// page faults. Here both cost far more than a system call of Linux. So the thread layer
// keeps the last ranges that were given back. What is used again loses nothing.

// Advice for madvise(2) that only the runtime gives.
const (
	adviceUnused = 0x1000 // as MADV_FREE, but adviceUsed precedes the next use
	adviceUsed   = 0x1001
)

const (
	vmUnusedRanges = 256
	vmUnusedMost   = 64 << 10 // bytes of a range: the scavenger's unit
	vmUnusedShare  = 64       // at most this fraction of the memory is kept: 1/64
)

// vmUnused is the ranges that are kept: a ring, oldest first. Ranges with n == 0 are
// free places.
type vmUnused struct {
	ranges [vmUnusedRanges]vmRange
	next   uintptr // the next one to discard
	bytes  uintptr
}

type vmRange struct{ addr, n uintptr }

//go:nosplit
func (u *vmUnused) at(i uintptr) *vmRange { return &u.ranges[i%vmUnusedRanges] }

// add keeps a range, and discards the oldest ranges if there are too many.
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

// shrink discards the oldest ranges until the rest is small enough.
//
//go:nosplit
func (u *vmUnused) shrink() (r uintptr) {
	for u.bytes > vmSharedPage().memory/vmUnusedShare {
		r |= u.discard()
	}
	return r
}

// discard discards the oldest range and frees its place.
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

// remove forgets all ranges inside [addr, addr+n): the memory is in use, or belongs to
// another mapping.
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
