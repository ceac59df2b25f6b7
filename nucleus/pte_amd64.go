//go:build pith

package runtime

// Page tables (SDM 3A §4.5) are all that is known of the address space. An
// entry that is not present may be a mark: all of its range is mapped, and gets
// frames when it is touched. A mark at a higher level counts for the whole
// range of the entry.
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteUser    = 1 << 2
	pteNoCache = 1<<4 | 1<<3
	pteLarge   = 1 << 7
	pteMark    = 1 << 9  // not present: mapped all the same, with the access of the other bits
	pteFixed   = 1 << 10 // present: not a frame that unmapping gives back
	pteNX      = 1 << 63
	pteFrame   = 0x000ffffffffff000
)

//go:nosplit
func tableShift(level uintptr) uintptr { return 12 + 9*(level-1) }

// entryOf is the address of the entry for va in the table at physical
// address table.
//
//go:nosplit
func entryOf(table, level, va uintptr) uintptr {
	return nucleusDirect + table + va>>tableShift(level)&511*8
}

// accessOf are the bits of an entry with access prot.
//
//go:nosplit
func accessOf(prot uintptr) uintptr {
	switch {
	case prot&protWrite != 0:
		return pteUser | pteWrite | pteNX
	case prot&protRead != 0:
		return pteUser | pteNX
	}
	return pteNX
}

// alias maps the first GiB again at nucleusAlias, through the same tables: the
// entries above say who may.
//
//go:nosplit
func (b *bootMemory) alias() {
	low := load64(load64(b.root) & pteFrame) // level 3, entry 0: the first GiB
	high := b.page()
	store64(b.root+511*8, high|ptePresent|pteWrite)
	store64(high+510*8, low&^pteUser)
}
