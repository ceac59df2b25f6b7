// Package tinyelf writes very small static executables from a few instructions and
// system calls, without a toolchain or a runtime. A [Program] runs on Linux, and a
// [Machine] runs in a virtual machine. A monitor's probe runs one as its trial
// image. Tests use them as images that try forbidden operations.
package tinyelf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Addresses of the two segments. Text is readable and executable, and data is
// readable and writable.
const (
	TextAddr = 0x400000
	DataAddr = 0x600000
	DataSize = 64 << 10
)

const page = 4096

// segment is a program header with its bytes in the file.
type segment struct {
	elf.Prog64
	content []byte
}

// executable returns an ELF file with the given segments. Each segment starts on
// its own page.
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
