//go:build pith

package runtime

// Page table entries (SDM 3A §4.5). The page tables are the only record of the address
// space. A PTE that is not present may be a lazy mapping: its range is mapped, and each
// page gets a frame when it is first touched. At a higher level a lazy mapping covers
// the whole range of the entry.
const (
	ptePresent = 1 << 0
	pteWrite   = 1 << 1
	pteUser    = 1 << 2
	pteNoCache = 1<<4 | 1<<3
	pteLarge   = 1 << 7
	pteLazy    = 1 << 9  // a lazy mapping: the other bits have the access
	pteFixed   = 1 << 10 // present: unmapping does not free the frame
	pteNX      = 1 << 63
	pteFrame   = 0x000ffffffffff000
)

//go:nosplit
func tableShift(level uintptr) uintptr { return 12 + 9*(level-1) }

// entryOf returns the address of the PTE for va in the table at the guest-physical
// address table.
//
//go:nosplit
func entryOf(table, level, va uintptr) uintptr {
	return nucleusDirect + table + va>>tableShift(level)&511*8
}

// accessOf returns the PTE bits for PROT_* prot.
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

// alias maps the first GiB again at nucleusAlias, through the same tables. The entries
// at the levels above decide who may access it.
//
//go:nosplit
func (b *bootMemory) alias() {
	low := load64(load64(b.root) & pteFrame) // level 3, entry 0: the first GiB
	high := b.page()
	store64(b.root+511*8, high|ptePresent|pteWrite)
	store64(high+510*8, low&^pteUser)
}
