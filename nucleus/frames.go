//go:build pith

package runtime

import "unsafe"

// Page frames. A pageRun has the bounds of those that were never in use, so that the
// start takes no longer with more memory. A bitmap has those that were given back. In
// it, contiguous page frames can be found, for devices and for free page reporting.
// nucleus.lock guards all of this.

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

// takeFresh takes count contiguous frames that were never in use. It returns the
// address of the first one, or 0.
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

// takeBack takes a frame that was in use before. It returns the address, or 0.
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
			t := n.reported + i*8
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

// lowestBit returns the number of the lowest bit that is set in w, which is not 0.
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

// takeZero takes count contiguous frames that are already zero. It returns the address
// of the first one, or 0.
//
//go:nosplit
func (n *nucleus) takeZero(count uintptr) uintptr {
	if !n.zeroed {
		return 0
	}
	return n.takeFresh(count)
}

// zeroFrame takes a frame and zeroes it. It returns the address, or 0. It prefers
// frames that were in use before, because the host already has memory for them.
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

// giveFrame frees a frame, which no page table and no TLB may contain.
//
//go:nosplit
func (n *nucleus) giveFrame(f uintptr) { n.setFree(f / pageSize4) }

// isFree reports whether frame is free.
//
//go:nosplit
func (n *nucleus) isFree(frame uintptr) bool {
	return frame/64 < n.words && hasBit(n.free, frame)
}

// takeRun takes count contiguous frames and zeroes them. It returns the address of the
// first one, or 0. It takes them from the end of a run, as single frames are taken
// from the beginning.
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
	clearBit(n.reported, frame)
	n.nback--
	n.nfree--
}

// minReported is the least number of contiguous frames that are worth reporting to the
// host (virtio 1.2 §5.5.6.7).
const minReported = 16

// takeUnreported takes the first run of at least minReported free frames, from frame
// from on, that have not been reported to the host. Without one, count is 0.
//
//go:nosplit
func (n *nucleus) takeUnreported(from uintptr) (first, count uintptr) {
	const most = 4 << 20 / pageSize4
	for f := from; f <= n.last*64+63; f++ {
		if f%64 == 0 && load64(n.free+f/8)&^load64(n.reported+f/8) == 0 && count < minReported {
			f += 63
			count = 0
			continue
		}
		if !n.isFree(f) || hasBit(n.reported, f) {
			if count >= minReported {
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
	if count < minReported {
		return 0, 0
	}
	for i := first; i < first+count; i++ {
		n.useFrame(i)
		setBit(n.reported, i) // reported and not free: the driver has it
	}
	return first, count
}

// giveReported gives back frames that takeUnreported took. They have been reported to
// the host by now.
//
//go:nosplit
func (n *nucleus) giveReported(first, count uintptr) {
	for i := first; i < first+count; i++ {
		if i/64 < n.words && !n.isFree(i) && hasBit(n.reported, i) {
			n.setFree(i)
		}
	}
}

//go:nosplit
func (n *nucleus) run(i uintptr) *pageRun {
	return (*pageRun)(unsafe.Pointer(uintptr(unsafe.Pointer(&n.runs)) + i*unsafe.Sizeof(pageRun{})))
}

// acquire takes the lock. Meanwhile it takes part in TLB shootdowns: the CPU that has
// the lock may be waiting for this one.
//
//go:nosplit
func (n *nucleus) acquire(c *cpuState) {
	for nucleusxchg(uintptr(unsafe.Pointer(&n.lock)), 1) != 0 {
		n.flushIfStale(c)
		nucleusrelax()
	}
}

//go:nosplit
func (n *nucleus) release() { nucleusxchg(uintptr(unsafe.Pointer(&n.lock)), 0) }
