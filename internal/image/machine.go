package image

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pith-os/pith/libos/boot"
)

// What makes an image bootable as a virtual machine: the PVH note, the entry
// that it names and what the nucleus is told about the image.
const (
	pvhName  = "Xen"
	pvhEntry = 18 // XEN_ELFNOTE_PHYS32_ENTRY (Xen, xen/include/public/elfnote.h)

	entryFunction = "runtime.nucleusentry"
	imageMagic    = "\x9bpith nucleusimg" // begins runtime.nucleusimage until it is filled in

	maxImage = 1 << 30 // address that the nucleus's view of the image ends at
)

// ownParameters are the boot parameters that the image brings: what its program
// gets when the monitor gives no arguments, and its environment.
func ownParameters(name string, m *Manifest) []byte {
	c := boot.Config{Args: append([]string{name}, m.Args...), Env: m.Env}
	return []byte(c.String())
}

// setMachine tells the nucleus where the image's boot parameters are in memory
// and where the image ends, and gives the physical address of the entry.
// Only a program that was linked with a derived Go distribution has a nucleus.
func (p *program) setMachine(parameters, size, end uint64) (entry uint64, err error) {
	i := slices.IndexFunc(p.progs, func(s elf.Prog64) bool { return elf.ProgType(s.Type) == elf.PT_LOAD && s.Off == 0 })
	if i < 0 {
		return 0, errors.New("the linker's segments do not hold the ELF header")
	}
	head := p.progs[i].Vaddr
	if end > maxImage {
		return 0, fmt.Errorf("the image would end at %#x in memory, beyond %#x", end, uint64(maxImage))
	}
	values := []uint64{head, parameters, size, end}
	b, err := p.slot(imageMagic)
	if err != nil {
		return 0, err
	}
	if len(b) < 8*len(values) {
		return 0, errOtherVersion
	}
	for i, v := range values {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}

	// The entry is 32-bit code, for which the assembler knows no absolute
	// address: LEAQ link(SB), DI there becomes MOVL $link, DI and two NOPs. The
	// MOVL behind it loads the image's end.
	const movlDI, movlSI, nop, leaqSize = 0xbf, 0xbe, 0x90, 7
	f, ok, err := p.assembly(entryFunction)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("the program has no %s", entryFunction)
	}
	code := p.body(f)
	if len(code) < leaqSize+5 || code[0] != 0x48 || code[1] != 0x8d || code[2] != 0x3d || code[leaqSize] != movlSI {
		return 0, fmt.Errorf("%s is not as expected", entryFunction)
	}
	link := f.addr + leaqSize + uint64(int32(binary.LittleEndian.Uint32(code[3:])))
	if link > maxImage {
		return 0, fmt.Errorf("%s refers to %#x, beyond the image", entryFunction, link)
	}
	code[0] = movlDI
	binary.LittleEndian.PutUint32(code[1:], uint32(link))
	code[5], code[6] = nop, nop
	binary.LittleEndian.PutUint32(code[leaqSize+1:], uint32(end))
	return f.addr, nil
}
