//go:build pith

package runtime

import "unsafe"

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

// bootRecord is what an entry says to nucleusStart: what it has learned of the
// virtual machine, whoever loaded the image. Addresses are guest-physical and below
// earlyMemory, but for those of the memory map.
type bootRecord struct {
	image    [2]uintptr // from and to
	memory   uintptr    // *memoryRange: the memory map
	ranges   uintptr    // how many
	line     uintptr    // boot parameters: their first part
	length   uintptr    // in bytes
	more     uintptr    // *bootText: the other parts
	parts    uintptr    // how many
	firmware uintptr    // the ACPI root pointer (RSDP); 0: not known
	zeroed   bool       // memory is zero but for the image and what stands here
}

// memoryRange is an entry of the memory map. The layout is PVH's.
type memoryRange struct {
	addr, size uint64
	kind, _    uint32
}

const memoryUsable = 1 // a memoryRange's kind: nobody uses it yet

// bootText is a part of the boot parameters. The layout is PVH's.
type bootText struct{ addr, size, _, _ uint64 }

// nucleusStart makes the virtual machine's page tables and state, on the first CPU,
// with the entry's early tables: memory below earlyMemory is at its guest-physical
// address. It returns the CPU's state and the tables' root.
//
//go:nosplit
func nucleusStart(r *bootRecord) (cpu, root uintptr) {
	nucleusNeeds()
	b := &nucleusboot
	b.start(r)
	length := r.totalLength()
	root = b.page()
	b.root = root
	state := b.page()
	b.put(root, nucleusBase, state, pteWrite|pteNX, 1)
	n := (*nucleus)(unsafe.Pointer(state))
	n.root = root
	n.tables.base = nucleusDirect
	n.image[0], n.image[1] = r.image[0], r.image[1]
	b.image(r.image[0])

	// What CPL 3 learns of the virtual machine.
	sh := b.page()
	b.put(root, userShared, sh, pteUser|pteWrite|pteNX|pteFixed, 1)
	n.shared = nucleusDirect + sh
	s := (*vmShared)(unsafe.Pointer(sh))
	b.parameters(r, length)
	s.line = length
	image := (*[4]uintptr)(unsafe.Pointer(&nucleusimage))
	s.defaults[0], s.defaults[1] = image[1], image[2]
	s.rsdp = r.firmware
	s.image = r.image[0]

	b.frames(n, r, s)
	n.startArch(b, s)
	cpu = b.cpu(n, 0)
	n.ncpus = 1
	b.done(n)
	return cpu, root
}

// start finds the run of memory that holds the image, behind its end and behind
// what the entry's record names.
//
//go:nosplit
func (b *bootMemory) start(r *bootRecord) {
	b.zeroed = r.zeroed
	b.next = (r.image[1] + pageSize4 - 1) &^ (pageSize4 - 1)
	for i := range r.ranges {
		m := r.rangeAt(i)
		if m.kind == memoryUsable && uintptr(m.addr) <= r.image[0] && r.image[0] < uintptr(m.addr+m.size) {
			b.end = uintptr(m.addr + m.size)
		}
	}
	b.end = min(b.end, earlyMemory)
	b.avoid(r.memory, r.ranges*unsafe.Sizeof(memoryRange{}))
	b.avoid(r.line, r.length)
	b.avoid(r.more, r.parts*unsafe.Sizeof(bootText{}))
	for i := range r.parts {
		t := r.textAt(i)
		b.avoid(uintptr(t.addr), uintptr(t.size))
	}
	b.first = b.next
}

// image maps the image, whose ELF header is at hdr, for CPL 3 at its place and for
// the nucleus at nucleusAlias.
//
//go:nosplit
func (b *bootMemory) image(at uintptr) {
	hdr := (*elfHeader)(unsafe.Pointer(at))
	for i := range uintptr(hdr.phnum) {
		s := (*elfSegment)(unsafe.Pointer(at + uintptr(hdr.phoff) + i*uintptr(hdr.phent)))
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
		b.putRange(b.root, from, from, (uintptr(s.vaddr+s.memsz)+pageSize4-1)&^(pageSize4-1)-from, bits)
	}
	b.alias()
}

// rangeAt is entry i of the memory map.
//
//go:nosplit
func (r *bootRecord) rangeAt(i uintptr) *memoryRange {
	return (*memoryRange)(unsafe.Pointer(r.memory + i*unsafe.Sizeof(memoryRange{})))
}

// textAt is part i of the boot parameters behind the first one.
//
//go:nosplit
func (r *bootRecord) textAt(i uintptr) *bootText {
	return (*bootText)(unsafe.Pointer(r.more + i*unsafe.Sizeof(bootText{})))
}

// totalLength is the length of the boot parameters: each part but the first behind a
// space. It ends the machine if they are too long, or a part is not where it can
// be read.
//
//go:nosplit
func (r *bootRecord) totalLength() uintptr {
	n := r.length
	if r.parts != 0 && r.more >= earlyMemory-maxLine*unsafe.Sizeof(bootText{}) {
		nucleusDie(dieModule)
	}
	for i := uintptr(0); i < r.parts && n < maxLine; i++ {
		t := r.textAt(i)
		n += 1 + min(uintptr(t.size), maxLine)
		if n < maxLine && !r.holds(t) {
			nucleusDie(dieModule)
		}
	}
	if n >= maxLine {
		nucleusDie(dieLine)
	}
	return n
}

// holds reports whether a part of the boot parameters is in memory of the map,
// below earlyMemory, and does not overlap the image.
//
//go:nosplit
func (r *bootRecord) holds(t *bootText) bool {
	from, to := uintptr(t.addr), uintptr(t.addr+t.size)
	if to < from || to > earlyMemory || from < r.image[1] && r.image[0] < to {
		return false
	}
	for i := range r.ranges {
		m := r.rangeAt(i)
		if m.kind == memoryUsable && uintptr(m.addr) <= from && to <= uintptr(m.addr+m.size) {
			return true
		}
	}
	return false
}

// parameters copies the boot parameters, of that length, to pages that CPL 3 may
// read.
//
//go:nosplit
func (b *bootMemory) parameters(r *bootRecord, length uintptr) {
	text := b.next
	for b.next <= text+length {
		b.page()
	}
	at := text + r.length
	nucleuscopy(text, r.line, r.length)
	for i := range r.parts {
		t := r.textAt(i)
		*(*uint8)(unsafe.Pointer(at)) = ' '
		nucleuscopy(at+1, uintptr(t.addr), uintptr(t.size))
		at += 1 + uintptr(t.size)
	}
	b.putRange(b.root, userShared+pageSize4, text, b.next-text, pteUser|pteNX|pteFixed)
}

// frames finds the usable memory, maps it at nucleusDirect and makes the
// bitmaps. Which frames are free is said by done.
//
//go:nosplit
func (b *bootMemory) frames(n *nucleus, r *bootRecord, s *vmShared) {
	last := uintptr(0)
	for i := range r.ranges {
		m := r.rangeAt(i)
		if m.kind != memoryUsable || n.nruns == maxRuns {
			continue
		}
		from := (uintptr(m.addr) + pageSize4 - 1) &^ (pageSize4 - 1)
		to := uintptr(m.addr+m.size) &^ (pageSize4 - 1)
		if to <= lowMemory {
			continue
		}
		s.memory += to - from
		from = max(from, lowMemory)
		if from < r.image[1] && r.image[0] < to {
			from = (r.image[1] + pageSize4 - 1) &^ (pageSize4 - 1)
		}
		if from >= to || n.overlaps(from, to) {
			continue
		}
		p := n.run(n.nruns)
		p.start, p.end, p.fresh, p.top = from, to, from, to
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
		p := n.run(i)
		b.putRange(n.root, nucleusDirect+p.start, p.start, p.end-p.start, pteWrite|pteNX)
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
