//go:build pith

package runtime

// bootMemory gives memory for tables and pages. At the start that is the memory behind
// the image, at its guest-physical address. Later it is the free page frames.
type bootMemory struct {
	first, next, end uintptr
	base             uintptr // where guest-physical address 0 is: 0 or nucleusDirect
	root             uintptr // of the VM's page tables
	zeroed           bool    // memory is zero, except for what the monitor wrote
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

// put maps the page va at pa with bits. Level 2 maps 2 MiB.
//
//go:nosplit
func (b *bootMemory) put(root, va, pa, bits, level uintptr) {
	if level == 2 {
		bits |= pteLarge
	}
	store64(b.entry(root, va, level), pa|bits|ptePresent)
}

// entry returns the address of the PTE for va at a level. It makes missing tables.
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

// putRange maps [va, va+size) at pa, with large pages where they fit. No other part of
// the start takes as many instructions, and some hosts interpret them.
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

// pages maps new pages at [va, end), which one table must cover.
//
//go:nosplit
func (b *bootMemory) pages(root, va, end, bits uintptr) {
	for e := b.entry(root, va, 1); va < end; va += pageSize4 {
		store64(e, b.page()|bits|ptePresent)
		e += 8
	}
}

// avoid leaves out [addr, addr+size), and the memory on its shorter side.
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

// nucleusboot is the memory that nucleusStart uses.
var nucleusboot bootMemory
