// Package tinyelf writes very small static executables: a few
// system calls and instructions, with no toolchain and no runtime. A [Program]
// is one for Linux, a [Machine] one for a virtual machine. They are the trial
// image of a monitor's probe, and the images of the tests that try what an
// image must not do.
package tinyelf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Addresses of the two segments: text, readable and executable, and data,
// readable and writable.
const (
	TextAddr = 0x400000
	DataAddr = 0x600000
	DataSize = 64 << 10
)

const page = 4096

// segment is a program header and the bytes of the file that it stands for.
type segment struct {
	elf.Prog64
	content []byte
}

// executable is an ELF file of these segments, each from a page of its own.
func executable(entry uint64, segments ...segment) []byte {
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: entry, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: uint16(len(segments)), Shentsize: 64,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)

	var head, content bytes.Buffer
	write := func(part any) {
		if err := binary.Write(&head, binary.LittleEndian, part); err != nil {
			panic(err) // the structures have fixed sizes, and a Buffer takes all
		}
	}
	write(header)
	for _, s := range segments {
		s.Off, s.Paddr, s.Filesz = uint64(page+content.Len()), s.Vaddr, uint64(len(s.content))
		write(s.Prog64)
		content.Write(s.content)
		content.Write(make([]byte, -len(s.content)&(page-1)))
	}
	head.Write(make([]byte, page-head.Len()))
	return append(head.Bytes(), content.Bytes()...)
}
