//go:build pith

package runtime

import "unsafe"

const (
	protRead  = 1
	protWrite = 2
	mapFixed  = 4 // take the range even where it is in use
)

// expand makes a table of the entry at e, of the given level above 1, which
// inherits its mark; 0 without a frame for it.
//
//go:nosplit
func (n *nucleus) expand(e uintptr) uintptr {
	old := load64(e)
	t := n.zeroFrame()
	if t == 0 {
		return 0
	}
	if old&pteMark != 0 {
		nucleusfill(nucleusDirect+t, pageSize4, old)
	}
	store64(e, t|ptePresent|pteWrite|pteUser)
	return t
}

// change is what walk does to the entries of a range.
const (
	changeMap      = iota // mark with access
	changeNew             // the same, up to where something is mapped
	changeUnmap           // nothing there
	changeProtect         // other access to what is mapped
	changeDiscard         // frames back, marks stay
	changeCheck           // is anything there?
	changeCheckAll        // is everything there?
)

// alter does op to [va, end), under the lock. Frames that are dropped are in d, to
// be given back when no TLB has them. It returns whether
// the range is as a check wanted, or whether there was memory for the tables.
//
//go:nosplit
func (n *nucleus) alter(op, access, va, end uintptr, d *dropped) bool {
	table, level := n.root, uintptr(4)
	for va < end {
		shift := tableShift(level)
		size := uintptr(1) << shift
		e := entryOf(table, level, va)
		whole := va&(size-1) == 0 && end-va >= size
		if whole && level <= 3 && (op == changeMap || op == changeNew || op == changeCheck) {
			// Most of what is mapped was not: a row of entries at once.
			count := nucleussame(e, min((end-va)>>shift, 512-va>>shift&511), 0)
			if op != changeCheck {
				nucleusfill(e, count*8, pteMark|access)
			}
			if va += count << shift; count > 0 {
				if va>>shift&511 == 0 {
					table, level = n.root, 4
				}
				continue
			}
		}
		old := load64(e)
		if op == changeNew && old != 0 && (level == 1 || old&ptePresent == 0) {
			d.reached = va
			return false
		}
		if level > 1 && old&ptePresent != 0 {
			if old&pteLarge != 0 {
				return false // the image's own
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
		// Nothing, or a mark.
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
			store64(e, pteMark|access)
		}
		va = va&^(size-1) + size
		if va>>shift&511 == 0 {
			table, level = n.root, 4
		}
	}
	return true
}

// alterEntry is alter for the entry e, holding old, of the page va.
//
//go:nosplit
func (n *nucleus) alterEntry(op, access, e, va, old uintptr, d *dropped) bool {
	switch op {
	case changeMap:
		d.entry(old, va)
		store64(e, pteMark|access)
	case changeUnmap:
		d.entry(old, va)
		store64(e, 0)
	case changeDiscard:
		if old&pteFixed == 0 && (old&ptePresent != 0 || old&pteFrame != 0) {
			d.entry(old, va)
			store64(e, pteMark|old&(pteUser|pteWrite|pteNX))
		}
	case changeProtect:
		if old == 0 {
			return true
		}
		if old&pteFixed != 0 {
			return false // its access is for good
		}
		frame := old & pteFrame
		p := uintptr(0)
		if frame != 0 && access&pteUser != 0 {
			p = ptePresent
		}
		store64(e, frame|pteMark|access|p)
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

// dropped are frames that nothing maps any more, and what TLBs must forget before
// others may have them. It is in the nucleus's own memory: what was dropped can
// be written until then.
type dropped struct {
	cpu    uintptr // *cpuState of who drops
	n      uintptr
	frames [maxDropped]uintptr
	all    bool // TLBs must forget everything
	count  uintptr
	pages  [8]uintptr

	reached uintptr // where changeNew found something, or 0
}

const (
	maxDropped   = 256
	droppedTable = 1 // added to a frame: a table of level 1, with what it maps
)

// dropNothing gives the one list there is, empty.
//
//go:nosplit
func (n *nucleus) dropNothing(c *cpuState) *dropped {
	d := &n.drops
	d.cpu = uintptr(unsafe.Pointer(c))
	d.n, d.all, d.count, d.reached = 0, false, 0, 0
	return d
}

// entry drops the frame of the entry old, for the page va.
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

// settle has every CPU forget what was dropped, and frees it.
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
	faultAccess // mapped, but not for this
	faultNone   // not mapped
	faultMemory // no frame
)

// around is how many pages a fault gives at most, plenty how many free frames
// there have to be for it to give some before it is seen that they are wanted.
const (
	around = 32
	plenty = 4096
)

// pageIn gives the page va a frame, under the lock.
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
		case old&ptePresent != 0: // a large page, which this CPU has not seen yet
			if old&pteUser == 0 || write && old&pteWrite == 0 {
				return faultAccess
			}
			return faultDone
		case old&pteMark == 0:
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
	if old&pteMark == 0 {
		return faultNone
	}
	if old&pteUser == 0 || write && old&pteWrite == 0 {
		return faultAccess
	}
	left := (pageSize4 - e&(pageSize4-1)) / 8 // entries of the table
	// Frames that never were in use cost nothing before they are touched: with
	// enough of them the pages that follow get theirs, too.
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
	// In a sequence the next ones will be wanted too.
	if va&(pageSize4*511) != 0 && load64(e-8)&ptePresent != 0 && n.nfree > 1024 {
		for range nucleussame(e+8, min(around, left)-1, old) {
			e += 8
			store64(e, n.zeroFrame()|ptePresent|old)
		}
	}
	return faultDone
}
