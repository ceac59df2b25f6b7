//go:build pith

package runtime

// bootMemory is where new tables and pages come from: at first from behind the
// image, reached at their physical addresses, and later from the free frames.
type bootMemory struct {
	first, next, end uintptr
	base             uintptr // of physical addresses: 0 or nucleusDirect
	root             uintptr // of the machine's page tables
	zeroed           bool    // memory is zero but for what the monitor wrote
}

//go:nosplit
func (b *bootMemory) page() uintptr {
	if b.base != 0 {
		p := nuc().zeroFrame()
		if p == 0 {
			nucleusDie(dieMemory)
		}
		return p
	}
	p := b.next
	if p+pageSize4 > b.end {
		nucleusDie(dieMemory)
	}
	b.next += pageSize4
	if !b.zeroed {
		nucleusfill(p, pageSize4, 0)
	}
	return p
}

// put maps page va at pa with bits; level 2 maps 2 MiB.
//
//go:nosplit
func (b *bootMemory) put(root, va, pa, bits, level uintptr) {
	if level == 2 {
		bits |= pteLarge
	}
	store64(b.entry(root, va, level), pa|bits|ptePresent)
}

// entry is the address of the entry for va in its table of the given level.
//
//go:nosplit
func (b *bootMemory) entry(root, va, level uintptr) uintptr {
	table := root
	for l := uintptr(4); l > level; l-- {
		e := b.base + table + va>>tableShift(l)&511*8
		if load64(e)&ptePresent == 0 {
			t := b.page()
			up := uintptr(ptePresent | pteWrite)
			if va < 1<<47 {
				up |= pteUser
			}
			store64(e, t|up)
		}
		table = load64(e) & pteFrame
	}
	return b.base + table + va>>tableShift(level)&511*8
}

// putRange maps [va, va+size) at pa, with large pages where they fit. Of the
// start this takes the most instructions, and there are hosts that interpret
// them.
//
//go:nosplit
func (b *bootMemory) putRange(root, va, pa, size, bits uintptr) {
	bits |= ptePresent
	for end := va + size; va < end; {
		level, step := uintptr(1), uintptr(pageSize4)
		entry := pa | bits
		if (va|pa)&(pageSize2-1) == 0 && end-va >= pageSize2 {
			level, step = 2, pageSize2
			entry |= pteLarge
		}
		shift := tableShift(level)
		e := b.entry(root, va, level)
		count := min((end-va)>>shift, 512-va>>shift&511) // in this table
		nucleusrow(e, count, entry, step)
		va += count << shift
		pa += count << shift
	}
}

// pages maps [va, end), all in one table, at pages of their own.
//
//go:nosplit
func (b *bootMemory) pages(root, va, end, bits uintptr) {
	for e := b.entry(root, va, 1); va < end; va += pageSize4 {
		store64(e, b.page()|bits|ptePresent)
		e += 8
	}
}

// avoid leaves [addr, addr+size) out, and what is on the shorter side of it.
//
//go:nosplit
func (b *bootMemory) avoid(addr, size uintptr) {
	if size == 0 || addr >= b.end || addr+size <= b.next {
		return
	}
	below, above := uintptr(0), uintptr(0)
	if addr > b.next {
		below = addr - b.next
	}
	if addr+size < b.end {
		above = b.end - addr - size
	}
	if below > above {
		b.end = addr &^ (pageSize4 - 1)
	} else {
		b.next = (addr + size + pageSize4 - 1) &^ (pageSize4 - 1)
	}
}

// nucleusboot is what nucleusStart takes memory from.
var nucleusboot bootMemory
