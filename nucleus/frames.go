//go:build pith

package runtime

import "unsafe"

// Page frames. Those that never were in use are known by where they begin and
// end (pageRun), so that a start takes as long with much memory as with little.
// Of those that were given back a bitmap says which they are, for runs of them
// to be found: for devices, and to be given back to the host. All of this is
// under nucleus.lock.

//go:nosplit
func bitWord(bitmap, frame uintptr) uintptr { return bitmap + frame/64*8 }

//go:nosplit
func hasBit(bitmap, frame uintptr) bool {
	return load64(bitWord(bitmap, frame))>>(frame%64)&1 != 0
}

//go:nosplit
func setBit(bitmap, frame uintptr) {
	w := bitWord(bitmap, frame)
	store64(w, load64(w)|1<<(frame%64))
}

//go:nosplit
func clearBit(bitmap, frame uintptr) {
	w := bitWord(bitmap, frame)
	store64(w, load64(w)&^(1<<(frame%64)))
}

//go:nosplit
func (n *nucleus) setFree(frame uintptr) {
	setBit(n.free, frame)
	n.last = max(n.last, frame/64)
	n.nback++
	n.nfree++
}

// takeFresh gives the address of the first of count frames in a row that never
// were in use, or 0.
//
//go:nosplit
func (n *nucleus) takeFresh(count uintptr) uintptr {
	for i := range n.nruns {
		r := n.run(i)
		if r.top-r.fresh >= count*pageSize4 {
			f := r.fresh
			r.fresh += count * pageSize4
			n.nfree -= count
			return f
		}
	}
	return 0
}

// takeBack gives the address of a frame that was in use before, or 0.
//
//go:nosplit
func (n *nucleus) takeBack() uintptr {
	if n.nback == 0 {
		return 0
	}
	i := n.next
	for range n.words {
		if w := load64(n.free + i*8); w != 0 {
			bit := lowestBit(w)
			store64(n.free+i*8, w&(w-1))
			t := n.told + i*8
			store64(t, load64(t)&^(1<<bit))
			n.next = i
			n.nback--
			n.nfree--
			return (i*64 + bit) * pageSize4
		}
		i++
		if i > n.last {
			i = 0
		}
	}
	return 0
}

// lowestBit is the number of the lowest bit of w, which is not 0.
//
//go:nosplit
func lowestBit(w uintptr) uintptr {
	n := uintptr(0)
	for s := uintptr(32); s != 0; s >>= 1 {
		if w&(1<<s-1) == 0 {
			w >>= s
			n += s
		}
	}
	return n
}

// takeZero gives the address of the first of count frames in a row that are
// zero, or 0 where that takes work or there is none.
//
//go:nosplit
func (n *nucleus) takeZero(count uintptr) uintptr {
	if !n.zeroed {
		return 0
	}
	return n.takeFresh(count)
}

// zeroFrame gives the address of a frame that is zero, or 0. It would rather
// have one that was in use before: the host has memory for it.
//
//go:nosplit
func (n *nucleus) zeroFrame() uintptr {
	f := n.takeBack()
	if f == 0 {
		f = n.takeFresh(1)
		if n.zeroed {
			return f
		}
	}
	if f != 0 {
		nucleusfill(nucleusDirect+f, pageSize4, 0)
	}
	return f
}

// giveFrame makes a frame free. It must be in no page table and no TLB.
//
//go:nosplit
func (n *nucleus) giveFrame(f uintptr) { n.setFree(f / pageSize4) }

// isFree reports whether frame is free.
//
//go:nosplit
func (n *nucleus) isFree(frame uintptr) bool {
	return frame/64 < n.words && hasBit(n.free, frame)
}

// takeRun gives the first of count frames in a row, zeroed, or 0. It takes
// them from the end: single frames are taken from the beginning.
//
//go:nosplit
func (n *nucleus) takeRun(count uintptr) uintptr {
	for i := range n.nruns {
		r := n.run(i)
		if r.top-r.fresh >= count*pageSize4 {
			r.top -= count * pageSize4
			n.nfree -= count
			if !n.zeroed {
				nucleusfill(nucleusDirect+r.top, count*pageSize4, 0)
			}
			return r.top
		}
	}
	have := uintptr(0)
	for f := n.last*64 + 64; f > 0; {
		f--
		if !n.isFree(f) {
			have = 0
			continue
		}
		have++
		if have == count {
			for i := f; i < f+count; i++ {
				n.useFrame(i)
			}
			nucleusfill(nucleusDirect+f*pageSize4, count*pageSize4, 0)
			return f * pageSize4
		}
	}
	return 0
}

//go:nosplit
func (n *nucleus) useFrame(frame uintptr) {
	clearBit(n.free, frame)
	clearBit(n.told, frame)
	n.nback--
	n.nfree--
}

// minTold is the shortest run of frames worth telling the host of.
const minTold = 16

// takeUntold takes the first run of at least minTold free frames, from the
// frame from on, that the host has not been told of. Its length is 0 when there
// is none.
//
//go:nosplit
func (n *nucleus) takeUntold(from uintptr) (first, count uintptr) {
	const most = 4 << 20 / pageSize4
	for f := from; f <= n.last*64+63; f++ {
		if f%64 == 0 && load64(n.free+f/8)&^load64(n.told+f/8) == 0 && count < minTold {
			f += 63
			count = 0
			continue
		}
		if !n.isFree(f) || hasBit(n.told, f) {
			if count >= minTold {
				break
			}
			count = 0
			continue
		}
		if count == 0 {
			first = f
		}
		count++
		if count == most {
			break
		}
	}
	if count < minTold {
		return 0, 0
	}
	for i := first; i < first+count; i++ {
		n.useFrame(i)
		setBit(n.told, i) // told and not free: lent
	}
	return first, count
}

// giveTold gives frames back that takeUntold took, and that are the host's now.
//
//go:nosplit
func (n *nucleus) giveTold(first, count uintptr) {
	for i := first; i < first+count; i++ {
		if i/64 < n.words && !n.isFree(i) && hasBit(n.told, i) {
			n.setFree(i)
		}
	}
}

//go:nosplit
func (n *nucleus) run(i uintptr) *pageRun {
	return (*pageRun)(unsafe.Pointer(uintptr(unsafe.Pointer(&n.runs)) + i*unsafe.Sizeof(pageRun{})))
}

// acquire takes the lock. While another CPU has it, this one does what that
// may be waiting for.
//
//go:nosplit
func (n *nucleus) acquire(c *cpuState) {
	for nucleusxchg(uintptr(unsafe.Pointer(&n.lock)), 1) != 0 {
		n.obey(c)
		nucleusrelax()
	}
}

//go:nosplit
func (n *nucleus) release() { nucleusxchg(uintptr(unsafe.Pointer(&n.lock)), 0) }
