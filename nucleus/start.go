//go:build pith

package runtime

import "unsafe"

// What the monitor passes: struct hvm_start_info and hvm_memmap_table_entry
// (Xen, xen/include/public/arch-x86/hvm/start_info.h).
type hvmStartInfo struct {
	magic, version, flags, modules uint32
	modlist, cmdline, rsdp         uint64
	memmap                         uint64
	entries, _                     uint32
}

// hvmModule is struct hvm_modlist_entry, without the module's command line.
type hvmModule struct{ addr, size, _, _ uint64 }

type hvmMemory struct {
	addr, size uint64
	kind, _    uint32
}

const (
	hvmMagic = 0x336ec578
	hvmRAM   = 1
)

// elfHeader and elfSegment are what the nucleus reads of Elf64_Ehdr and
// Elf64_Phdr.
type elfHeader struct {
	_     [32]byte
	phoff uint64
	_     [14]byte
	phent uint16
	phnum uint16
}

type elfSegment struct {
	kind, flags                               uint32
	off, vaddr, paddr, filesz, memsz, aligned uint64
}

const (
	elfLoad  = 1
	elfExec  = 1
	elfWrite = 2
)

// nucleusimage is filled in by the image builder: the address of the ELF header
// in memory; the image's own boot parameters and their length; the end of all
// that is loaded. It starts as the magic that the builder finds it by.
var nucleusimage = [4]uintptr{0x756e20687469709b, 0x676d697375656c63}

// maxLine is more than the longest line of boot parameters, in bytes.
const maxLine = 1 << 20

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

// nucleusboot is what nucleusStart takes memory from.
var nucleusboot bootMemory

// nucleusStart makes the machine's page tables and state from what the monitor
// says, on the first CPU, with the early tables: memory below 4 GiB is at its
// physical address. It returns the CPU's state and the tables' root.
//
//go:nosplit
func nucleusStart(info, link uintptr) (cpu, root uintptr) {
	h := (*hvmStartInfo)(unsafe.Pointer(info))
	if h.magic != hvmMagic || h.version < 1 || h.memmap == 0 {
		nucleusDie(dieStart)
	}
	image := (*[4]uintptr)(unsafe.Pointer(&nucleusimage))
	nucleusNeeds()
	// The legacy interrupt controllers (8259A), which a BIOS leaves on.
	nucleusout(0x21, 0xff)
	nucleusout(0xa1, 0xff)

	// The run of memory that holds the image, behind its end and behind what
	// the monitor left there.
	b := &nucleusboot
	b.zeroed = monitorZeroes()
	b.next = (image[3] + pageSize4 - 1) &^ (pageSize4 - 1)
	for i := range uintptr(h.entries) {
		m := hvmEntry(h, i)
		if m.kind == hvmRAM && uintptr(m.addr) <= image[0] && image[0] < uintptr(m.addr+m.size) {
			b.end = uintptr(m.addr + m.size)
		}
	}
	if b.end > 4<<30 {
		b.end = 4 << 30
	}
	b.avoid(info, unsafe.Sizeof(*h))
	b.avoid(uintptr(h.memmap), uintptr(h.entries)*unsafe.Sizeof(hvmMemory{}))
	length := lineLength(h)
	b.avoid(uintptr(h.cmdline), cmdlineLength(uintptr(h.cmdline))+1)
	b.avoid(uintptr(h.modlist), uintptr(h.modules)*unsafe.Sizeof(hvmModule{}))
	for i := range uintptr(h.modules) {
		m := hvmModuleAt(h, i)
		b.avoid(uintptr(m.addr), uintptr(m.size))
	}
	b.first = b.next

	root = b.page()
	b.root = root
	state := b.page()
	b.put(root, nucleusBase, state, pteWrite|pteNX, 1)
	table := b.page()
	gates(table)
	b.put(root, nucleusBase+pageSize4, table, pteWrite|pteNX, 1)
	n := (*nucleus)(unsafe.Pointer(state))
	n.root = root
	n.tables.base = nucleusDirect

	// The image, for CPL 3 at its place and for the nucleus at nucleusAlias,
	// through the same tables: the entries above say who may.
	hdr := (*elfHeader)(unsafe.Pointer(image[0]))
	for i := range uintptr(hdr.phnum) {
		s := (*elfSegment)(unsafe.Pointer(image[0] + uintptr(hdr.phoff) + i*uintptr(hdr.phent)))
		if s.kind != elfLoad {
			continue
		}
		bits := uintptr(pteUser | pteFixed)
		if s.flags&elfExec == 0 {
			bits |= pteNX
		}
		if s.flags&elfWrite != 0 {
			bits |= pteWrite
		}
		from := uintptr(s.vaddr) &^ (pageSize4 - 1)
		b.putRange(root, from, from, (uintptr(s.vaddr+s.memsz)+pageSize4-1)&^(pageSize4-1)-from, bits)
	}
	low := load64(load64(root) & pteFrame) // level 3, entry 0: the first GiB
	high := b.page()
	store64(root+511*8, high|ptePresent|pteWrite)
	store64(high+510*8, low&^pteUser)

	// What CPL 3 learns of the machine.
	sh := b.page()
	b.put(root, userShared, sh, pteUser|pteWrite|pteNX|pteFixed, 1)
	s := (*vmShared)(unsafe.Pointer(sh))
	b.line(h, length)
	s.line = length
	s.defaults[0], s.defaults[1] = image[1], image[2]
	s.rsdp = uintptr(h.rsdp)
	s.image = image[0]

	b.frames(n, h, s)

	// The trampoline of other CPUs, where the monitor's words may have been.
	b.put(root, trampoline, trampoline, 0, 1)
	nucleuscopy(trampoline, nucleusaddress(addressTrampoline), trampolineRoot)
	store64(trampoline+trampolineRoot, root)
	store64(trampoline+trampolineFar, load64(link)|selCode0<<32)
	nucleuscopy(trampoline+trampolineGDTR, link-16, 16)

	n.upcall = linked(addressUpcall)
	n.resumed = linked(addressResumed)
	n.resume[0], n.resume[1] = linked(addressResume), linked(addressResumeEnd)
	n.gate[0], n.gate[1] = linked(addressGate), linked(addressFaultGate)
	n.entry = linked(addressEntry)
	n.image[0], n.image[1] = image[0], image[3]
	n.shared = nucleusDirect + sh
	n.features(s)
	n.apicFind(b, root)

	c := b.cpu(n, 0)
	n.ncpus = 1
	b.done(n)
	return c, root
}

// linked is the address of code as CPL 3 has it.
//
//go:nosplit
func linked(which uintptr) uintptr { return nucleusaddress(which) - nucleusAlias }

// hvmEntry is entry i of the memory map.
//
//go:nosplit
func hvmEntry(h *hvmStartInfo, i uintptr) *hvmMemory {
	return (*hvmMemory)(unsafe.Pointer(uintptr(h.memmap) + i*unsafe.Sizeof(hvmMemory{})))
}

// hvmModuleAt is entry i of the list of modules.
//
//go:nosplit
func hvmModuleAt(h *hvmStartInfo, i uintptr) *hvmModule {
	return (*hvmModule)(unsafe.Pointer(uintptr(h.modlist) + i*unsafe.Sizeof(hvmModule{})))
}

// lineLength is the length of the boot parameters: the command line, and each
// module behind a space. It ends the machine if they are too long, or a module
// is not where it can be read.
//
//go:nosplit
func lineLength(h *hvmStartInfo) uintptr {
	n := cmdlineLength(uintptr(h.cmdline))
	if h.modules != 0 && h.modlist >= 4<<30-maxLine*uint64(unsafe.Sizeof(hvmModule{})) {
		nucleusDie(dieModule)
	}
	for i := uintptr(0); i < uintptr(h.modules) && n < maxLine; i++ {
		m := hvmModuleAt(h, i)
		n += 1 + min(uintptr(m.size), maxLine)
		if n < maxLine && !h.holds(m) {
			nucleusDie(dieModule)
		}
	}
	if n >= maxLine {
		nucleusDie(dieLine)
	}
	return n
}

// holds reports whether a module is in memory of the map, below 4 GiB, and
// does not overlap the image.
//
//go:nosplit
func (h *hvmStartInfo) holds(m *hvmModule) bool {
	image := (*[4]uintptr)(unsafe.Pointer(&nucleusimage))
	from, to := uintptr(m.addr), uintptr(m.addr+m.size)
	if to < from || to > 4<<30 || from < image[3] && image[0] < to {
		return false
	}
	for i := range uintptr(h.entries) {
		r := hvmEntry(h, i)
		if r.kind == hvmRAM && uintptr(r.addr) <= from && to <= uintptr(r.addr+r.size) {
			return true
		}
	}
	return false
}

// line copies the boot parameters, of that length, to pages that CPL 3 may read.
//
//go:nosplit
func (b *bootMemory) line(h *hvmStartInfo, length uintptr) {
	text := b.next
	for b.next <= text+length {
		b.page()
	}
	at := text + cmdlineLength(uintptr(h.cmdline))
	nucleuscopy(text, uintptr(h.cmdline), at-text)
	for i := range uintptr(h.modules) {
		m := hvmModuleAt(h, i)
		*(*uint8)(unsafe.Pointer(at)) = ' '
		nucleuscopy(at+1, uintptr(m.addr), uintptr(m.size))
		at += 1 + uintptr(m.size)
	}
	b.putRange(b.root, userShared+pageSize4, text, b.next-text, pteUser|pteNX|pteFixed)
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

//go:nosplit
func cmdlineLength(p uintptr) uintptr {
	if p == 0 {
		return 0
	}
	n := uintptr(0)
	for n < maxLine && load8(p+n) != 0 {
		n++
	}
	return n
}

// frames finds the usable memory, maps it at nucleusDirect and makes the
// bitmaps. Which frames are free is said by done.
//
//go:nosplit
func (b *bootMemory) frames(n *nucleus, h *hvmStartInfo, s *vmShared) {
	last := uintptr(0)
	for i := range uintptr(h.entries) {
		m := hvmEntry(h, i)
		if m.kind != hvmRAM || n.nruns == maxRuns {
			continue
		}
		from := (uintptr(m.addr) + pageSize4 - 1) &^ (pageSize4 - 1)
		to := uintptr(m.addr+m.size) &^ (pageSize4 - 1)
		if to <= 1<<20 {
			continue // the firmware's
		}
		s.memory += to - from
		from = max(from, 1<<20)
		image := (*[4]uintptr)(unsafe.Pointer(&nucleusimage))
		if from < image[3] && image[0] < to {
			from = (image[3] + pageSize4 - 1) &^ (pageSize4 - 1)
		}
		if from >= to || n.overlaps(from, to) {
			continue
		}
		r := n.run(n.nruns)
		r.start, r.end, r.fresh, r.top = from, to, from, to
		n.nruns++
		last = max(last, to)
	}
	if !n.overlaps(b.next, b.next+pageSize4) {
		nucleusDie(dieStart) // too many entries before the image's
	}
	n.words = (last/pageSize4 + 63) / 64
	bytes := (n.words*8 + pageSize4 - 1) &^ (pageSize4 - 1)
	n.free = nucleusDirect + b.next
	for range bytes / pageSize4 {
		b.page()
	}
	n.told = nucleusDirect + b.next
	for range bytes / pageSize4 {
		b.page()
	}
	for i := range n.nruns {
		r := n.run(i)
		b.putRange(n.root, nucleusDirect+r.start, r.start, r.end-r.start, pteWrite|pteNX)
	}
}

// overlaps reports whether [from, to) has memory of a run.
//
//go:nosplit
func (n *nucleus) overlaps(from, to uintptr) bool {
	for i := range n.nruns {
		if r := n.run(i); from < r.end && r.start < to {
			return true
		}
	}
	return false
}

// done frees what was not taken. What the monitor left has been read by now: in
// front of the pages that were taken, or behind where they may go.
//
//go:nosplit
func (b *bootMemory) done(n *nucleus) {
	n.zeroed = b.zeroed
	for i := range n.nruns {
		r := n.run(i)
		if b.next-r.start <= r.end-r.start {
			r.fresh, r.top = b.next, b.end
			n.freeAll(r.start, b.first)
			n.freeAll(b.end, r.end)
		}
		n.nfree += (r.top - r.fresh) / pageSize4
	}
}

// freeAll frees the frames from from to to, while the direct map is not yet in
// use.
//
//go:nosplit
func (n *nucleus) freeAll(from, to uintptr) {
	n.free -= nucleusDirect
	for ; from < to; from += pageSize4 {
		n.setFree(from / pageSize4)
	}
	n.free += nucleusDirect
}
