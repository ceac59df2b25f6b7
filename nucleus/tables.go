//go:build pith

package runtime

import "unsafe"

const (
	protRead  = 1
	protWrite = 2
	mapFixed  = 4 // replace what the range has
)

// expand makes a table for the entry at e, which is above level 1. The table inherits
// the entry's lazy mapping. expand returns its guest-physical address, or 0 if there is
// no free frame.
//
//go:nosplit
func (n *nucleus) expand(e uintptr) uintptr {
	old := load64(e)
	t := n.zeroFrame()
	if t == 0 {
		return 0
	}
	if old&pteLazy != 0 {
		nucleusfill(nucleusDirect+t, pageSize4, old)
	}
	store64(e, t|ptePresent|pteWrite|pteUser)
	return t
}

// Operations of alter.
const (
	changeMap      = iota // make it a lazy mapping
	changeNew             // the same, and stop where something is mapped
	changeUnmap           // map nothing
	changeProtect         // change the access of what is mapped
	changeDiscard         // free the frames, and leave a lazy mapping
	changeCheck           // is all of it unmapped?
	changeCheckAll        // is all of it mapped?
)

// alter does op to [va, end). The caller holds the lock. alter adds dropped frames to
// d: settle frees them when no TLB has them. The result of a check is its answer; of
// other operations it is whether there was memory for the tables.
//
//go:nosplit
func (n *nucleus) alter(op, access, va, end uintptr, d *dropped) bool {
	table, level := n.root, uintptr(4)
	for va < end {
		shift := tableShift(level)
		size := uintptr(1) << shift
		e := entryOf(table, level, va)
		whole := va&(size-1) == 0 && end-va >= size
		old := load64(e)
		if whole && level <= 3 && old&^(pteLazy|pteUser|pteWrite|pteNX) == 0 {
			// Most of a range is alike: unmapped, or lazy mappings without a frame.
			// Those are done many at once. Where CPL 0 is interpreted, the loop
			// below takes a third of a millisecond for an entry.
			if value, ok := alike(op, access, old); ok {
				count := nucleussame(e, min((end-va)>>shift, 512-va>>shift&511), old)
				if value != old {
					nucleusfill(e, count*8, value)
				}
				if va += count << shift; va>>shift&511 == 0 {
					table, level = n.root, 4
				}
				continue
			}
		}
		if op == changeNew && old != 0 && (level == 1 || old&ptePresent == 0) {
			d.reached = va
			return false
		}
		if level > 1 && old&ptePresent != 0 {
			if old&pteLarge != 0 {
				return false // the image
			}
			if !whole || level != 2 || op != changeUnmap && op != changeMap {
				table = old & pteFrame
				level--
				continue
			}
			store64(e, 0)
			d.frame(old&pteFrame | droppedTable)
			d.all = true
			old = 0
		}
		switch {
		case level == 1:
			if !n.alterEntry(op, access, e, va, old, d) {
				return false
			}
		// Nothing, or a lazy mapping.
		case op == changeCheck && old != 0 || op == changeCheckAll && old == 0:
			return false
		case op == changeCheck || op == changeCheckAll || op == changeDiscard || old == 0 && op != changeMap && op != changeNew:
		case !whole || level > 3:
			table = n.expand(e)
			if table == 0 {
				return false
			}
			level--
			continue
		case op == changeUnmap:
			store64(e, 0)
		default:
			store64(e, pteLazy|access)
		}
		va = va&^(size-1) + size
		if va>>shift&511 == 0 {
			table, level = n.root, 4
		}
	}
	return true
}

// alike returns what op makes of an entry that is unmapped or a lazy mapping without a
// frame. ok is false if op ends at it.
//
//go:nosplit
func alike(op, access, old uintptr) (value uintptr, ok bool) {
	switch {
	case op == changeMap, op == changeNew, op == changeProtect && old != 0:
		return pteLazy | access, op != changeNew || old == 0
	case op == changeUnmap:
		return 0, true
	}
	return old, (op != changeCheck || old == 0) && (op != changeCheckAll || old != 0)
}

// alterEntry does op to the PTE at e of the page va. Its value is old.
//
//go:nosplit
func (n *nucleus) alterEntry(op, access, e, va, old uintptr, d *dropped) bool {
	switch op {
	case changeMap:
		d.entry(old, va)
		store64(e, pteLazy|access)
	case changeUnmap:
		d.entry(old, va)
		store64(e, 0)
	case changeDiscard:
		if old&pteFixed == 0 && (old&ptePresent != 0 || old&pteFrame != 0) {
			d.entry(old, va)
			store64(e, pteLazy|old&(pteUser|pteWrite|pteNX))
		}
	case changeProtect:
		if old == 0 {
			return true
		}
		if old&pteFixed != 0 {
			return false // its access cannot change
		}
		frame := old & pteFrame
		p := uintptr(0)
		if frame != 0 && access&pteUser != 0 {
			p = ptePresent
		}
		store64(e, frame|pteLazy|access|p)
		if old&ptePresent != 0 {
			d.flush(va)
		}
	case changeCheck:
		return old == 0
	case changeCheckAll:
		return old != 0
	}
	return true
}

// dropped is a list of frames that no PTE maps any more, and of the TLB entries that
// must go before the frames are used again. It is in the nucleus's own memory, because
// CPL 3 can write to the frames until then.
type dropped struct {
	cpu    uintptr // *cpuState of the CPU that drops them
	n      uintptr
	frames [maxDropped]uintptr
	all    bool // flush TLBs completely
	count  uintptr
	pages  [8]uintptr

	reached uintptr // where changeNew found a mapping, or 0
}

const (
	maxDropped   = 256
	droppedTable = 1 // added to a frame: it is a table of level 1, and its pages are dropped too
)

// startDrop empties the nucleus's one list.
//
//go:nosplit
func (n *nucleus) startDrop(c *cpuState) *dropped {
	d := &n.drops
	d.cpu = uintptr(unsafe.Pointer(c))
	d.n, d.all, d.count, d.reached = 0, false, 0, 0
	return d
}

// entry drops the frame of the PTE old of the page va.
//
//go:nosplit
func (d *dropped) entry(old, va uintptr) {
	if frame := old & pteFrame; frame != 0 && old&pteFixed == 0 {
		d.frame(frame)
	}
	if old&ptePresent != 0 {
		d.flush(va)
	}
}

//go:nosplit
func (d *dropped) frame(f uintptr) {
	if d.n == maxDropped {
		nuc().settle(d)
	}
	store64(uintptr(unsafe.Pointer(&d.frames))+d.n*8, f)
	d.n++
}

//go:nosplit
func (d *dropped) flush(va uintptr) {
	if d.count < uintptr(len(d.pages)) {
		store64(uintptr(unsafe.Pointer(&d.pages))+d.count*8, va)
		d.count++
	} else {
		d.all = true
	}
}

// settle flushes what was dropped from all TLBs, and frees the frames.
//
//go:nosplit
func (n *nucleus) settle(d *dropped) {
	if d.n == 0 && d.count == 0 {
		return
	}
	if d.all || d.count == 0 {
		nucleusflushall()
	} else {
		for i := range d.count {
			nucleusinvlpg(load64(uintptr(unsafe.Pointer(&d.pages)) + i*8))
		}
	}
	n.flushOthers((*cpuState)(unsafe.Pointer(d.cpu)))
	for i := range d.n {
		f := load64(uintptr(unsafe.Pointer(&d.frames)) + i*8)
		table := f &^ droppedTable
		for e := uintptr(0); f != table && e < pageSize4; e += 8 {
			if old := load64(nucleusDirect + table + e); old&pteFrame != 0 && old&pteFixed == 0 {
				n.giveFrame(old & pteFrame)
			}
		}
		n.giveFrame(table)
	}
	d.n, d.all, d.count = 0, false, 0
}

// Outcomes of a page fault.
const (
	faultDone   = iota
	faultAccess // mapped, but the access is not permitted
	faultNone   // not mapped
	faultMemory // no frame
)

// A page fault maps up to around pages. It does so without a sign that they will be
// used only while more than plenty frames are free.
const (
	around = 32
	plenty = 4096
)

// pageIn gives the page va a frame. The caller holds the lock.
//
//go:nosplit
func (n *nucleus) pageIn(va uintptr, write bool) int {
	if va < userFirst || va >= 1<<47 {
		return faultNone
	}
	table := n.root
	for level := uintptr(4); level > 1; level-- {
		e := entryOf(table, level, va)
		old := load64(e)
		switch {
		case old&ptePresent != 0 && old&pteLarge == 0:
			table = old & pteFrame
		case old&ptePresent != 0: // a large page: another CPU was first
			if old&pteUser == 0 || write && old&pteWrite == 0 {
				return faultAccess
			}
			return faultDone
		case old&pteLazy == 0:
			return faultNone
		case old&pteUser == 0 || write && old&pteWrite == 0:
			return faultAccess
		default:
			table = n.expand(e)
			if table == 0 {
				return faultMemory
			}
		}
	}
	e := entryOf(table, 1, va)
	old := load64(e)
	if old&ptePresent != 0 {
		if write && old&pteWrite == 0 {
			return faultAccess
		}
		return faultDone // another CPU was first
	}
	if old&pteLazy == 0 {
		return faultNone
	}
	if old&pteUser == 0 || write && old&pteWrite == 0 {
		return faultAccess
	}
	left := (pageSize4 - e&(pageSize4-1)) / 8 // entries up to the table's end
	// A frame that was never in use costs the host nothing until it is touched. So
	// the following pages get frames too, if there are enough.
	if n.nfree > plenty {
		count := nucleussame(e, min(around, left), old)
		if f := n.takeZero(count); f != 0 {
			nucleusrow(e, count, f|ptePresent|old, pageSize4)
			return faultDone
		}
	}
	f := n.zeroFrame()
	if f == 0 {
		return faultMemory
	}
	store64(e, f|ptePresent|old)
	// The page before this one is mapped: the program probably goes through memory
	// in order.
	if va&(pageSize4*511) != 0 && load64(e-8)&ptePresent != 0 && n.nfree > 1024 {
		for range nucleussame(e+8, min(around, left)-1, old) {
			e += 8
			store64(e, n.zeroFrame()|ptePresent|old)
		}
	}
	return faultDone
}
