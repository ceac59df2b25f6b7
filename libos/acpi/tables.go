package acpi

import "github.com/pith-os/pith/libos/linux"

// memory maps n bytes of the firmware's memory at a guest-physical address
// (platform.MapFirmware).
type memory func(phys uint64, n int) ([]byte, linux.Errno)

// table is a table of the firmware. Fields beyond its end, which later versions have, read
// 0.
type table []byte

func (t table) number(off, width int) uint64 {
	var v uint64
	for i := range width {
		if at := off + i; at >= 0 && at < len(t) {
			v |= uint64(t[at]) << (8 * i)
		}
	}
	return v
}

func (t table) u8(off int) uint8   { return uint8(t.number(off, 1)) }
func (t table) u16(off int) uint16 { return uint16(t.number(off, 2)) }
func (t table) u32(off int) uint32 { return uint32(t.number(off, 4)) }
func (t table) u64(off int) uint64 { return t.number(off, 8) }

// sums reports whether the bytes sum up to 0, as every table's must.
func (t table) sums() bool {
	var sum uint8
	for _, b := range t {
		sum += b
	}
	return sum == 0
}

const (
	headerSize  = 36      // ACPI 6.4 §5.2.6
	largest     = 1 << 20 // size of a table in bytes
	mostEntries = 64      // tables in the root table
	maxPhys     = 1 << 52
)

// load maps the table at phys. It returns nil if there is no valid table.
func (m memory) load(phys uint64) (signature string, t table) {
	if phys == 0 || phys > maxPhys-largest {
		return "", nil
	}
	header, errno := m(phys, headerSize)
	if errno != 0 {
		return "", nil
	}
	length := table(header).u32(4)
	if length < headerSize || length > largest {
		return "", nil
	}
	if t, errno = m(phys, int(length)); errno != 0 || !t.sums() {
		return "", nil
	}
	return string(t[:4]), t
}

// find returns the tables with these signatures, nil for a missing one. It begins at the
// root pointer (§5.2.5.3).
func (m memory) find(rsdp uint64, signatures ...string) []table {
	const (
		oldSize, newSize = 20, 36
	)
	found := make([]table, len(signatures))
	if rsdp == 0 || rsdp > maxPhys-newSize {
		return found
	}
	p, errno := m(rsdp, oldSize)
	root := table(p)
	if errno != 0 || string(p[:8]) != "RSD PTR " || !root.sums() {
		return found
	}
	at, width := uint64(root.u32(16)), 4 // RSDT
	if root.u8(15) >= 2 {
		if p, errno = m(rsdp, newSize); errno == 0 && table(p).sums() && table(p).u64(24) != 0 {
			at, width = table(p).u64(24), 8 // XSDT
		}
	}
	_, list := m.load(at)
	for off, n := headerSize, 0; off+width <= len(list) && n < mostEntries; off, n = off+width, n+1 {
		signature, t := m.load(list.number(off, width))
		for i, want := range signatures {
			if signature == want && found[i] == nil {
				found[i] = t
			}
		}
	}
	return found
}

// place is where a register is.
type place struct {
	ports bool // I/O ports; else memory
	addr  uint64
}

// place reads a generic address structure (§5.2.3.2). ok is false if the address is 0, or
// in an address space that is neither memory nor I/O ports.
func (t table) place(off int) (p place, ok bool) {
	const memorySpace, portSpace = 0, 1
	p = place{t.u8(off) == portSpace, t.u64(off + 4)}
	return p, p.addr != 0 && (p.ports && p.addr <= 0xffff || t.u8(off) == memorySpace && p.addr < maxPhys)
}

// pinOf returns the input of the I/O APIC for the ISA interrupt irq. It has the same
// number, unless the MADT has an override (§5.2.12.5).
func pinOf(madt table, irq uint8) uint32 {
	const (
		first        = 44
		override     = 2
		overrideSize = 10
	)
	for off := first; off+2 <= len(madt); {
		kind, size := madt.u8(off), int(madt.u8(off+1))
		if size < 2 || size > len(madt)-off {
			break
		}
		if kind == override && size >= overrideSize && madt.u8(off+3) == irq {
			return madt.u32(off + 4)
		}
		off += size
	}
	return uint32(irq)
}

// sleepType returns the first value of the package \_S5, which PM1 control takes for soft
// off (§7.4.2.6). It finds the package in the byte code by its name: firmware always
// writes it as constants.
func sleepType(dsdt table) (uint8, bool) {
	const (
		name          = "_S5_"
		packageOp     = 0x12
		bytePrefix    = 0x0a
		zeroOp, oneOp = 0, 1
		largestType   = 7
	)
	for i := headerSize; i+len(name) < len(dsdt); i++ {
		if string(dsdt[i:i+len(name)]) != name || dsdt[i+len(name)] != packageOp {
			continue
		}
		at := i + len(name) + 1
		at += 1 + int(dsdt.u8(at)>>6) // the package's length (§20.2.4)
		at++                          // the number of its elements
		if at+1 >= len(dsdt) {
			return 0, false
		}
		v := dsdt.u8(at)
		switch v {
		case zeroOp, oneOp:
		case bytePrefix:
			v = dsdt.u8(at + 1)
		default:
			return 0, false
		}
		return v, v <= largestType
	}
	return 0, false
}
