package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
)

// stampPort is the I/O port to which a stamped image first writes eight bytes: the
// time stamp counter at its entry, little endian.
const stampPort = 0xeb

// physEntry is the type of the note with the entry's physical address:
// XEN_ELFNOTE_PHYS32_ENTRY (Xen, docs/misc/pvh.pandoc).
const physEntry = 18

// stamped returns a copy of an image that boots by the PVH ABI. The copy has an
// entry before the image's own, which stamps the time. All else stays in place.
func stamped(image []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, err
	}
	image = bytes.Clone(image)
	const page = 4096
	lowest := ^uint64(0)
	note := -1 // offset of the entry's address in the file
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			lowest = min(lowest, p.Paddr)
		case elf.PT_NOTE:
			if at := findEntry(image[p.Off:p.Off+p.Filesz], max(4, int(p.Align))); at >= 0 {
				note = int(p.Off) + at
			}
		}
	}
	if note < 0 || lowest < 1<<20+page {
		return nil, errors.New("no PVH entry, or no room before the image")
	}
	code := stampCode(binary.LittleEndian.Uint32(image[note:]))
	binary.LittleEndian.PutUint32(image[note:], uint32(lowest-page))

	var head elf.Header64
	if _, err := binary.Decode(image, binary.LittleEndian, &head); err != nil {
		return nil, err
	}
	image = append(image, make([]byte, -len(image)&(page-1))...)
	more := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Align: page,
		Off: uint64(len(image)), Vaddr: lowest - page, Paddr: lowest - page,
		Filesz: uint64(len(code)), Memsz: uint64(len(code)),
	}
	image = append(image, code...)
	room := image[int(head.Phoff)+int(head.Phnum)*int(head.Phentsize):][:head.Phentsize]
	if !bytes.Equal(room, make([]byte, len(room))) {
		return nil, errors.New("no room for one more program header")
	}
	head.Phnum++
	for _, part := range []struct {
		to   []byte
		from any
	}{{room, more}, {image, head}} {
		if _, err := binary.Encode(part.to, binary.LittleEndian, part.from); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// findEntry returns the offset of the entry's address in a note segment, or -1.
func findEntry(notes []byte, align int) int {
	pad := func(n uint32) int { return (int(n) + align - 1) &^ (align - 1) }
	for at := 0; at+12 <= len(notes); {
		name, desc := binary.LittleEndian.Uint32(notes[at:]), binary.LittleEndian.Uint32(notes[at+4:])
		kind := binary.LittleEndian.Uint32(notes[at+8:])
		value := at + 12 + pad(name)
		if kind == physEntry && bytes.HasPrefix(notes[at+12:], []byte("Xen\x00")) && value+4 <= len(notes) {
			return value
		}
		at = value + pad(desc)
	}
	return -1
}

// stampCode returns code that reads the counter, writes it and jumps to entry. The
// code begins in 32-bit protected mode, and may change all registers but EBX.
func stampCode(entry uint32) []byte {
	code := []byte{
		0x0f, 0x31, // RDTSC
		0x89, 0xc1, // MOV ECX, EAX
		0x89, 0xd6, // MOV ESI, EDX
		0x66, 0xba, stampPort & 0xff, stampPort >> 8, // MOV DX, port
		0xbf, 8, 0, 0, 0, // MOV EDI, 8
		0x88, 0xc8, // next: MOV AL, CL
		0xee,                // OUT DX, AL
		0x0f, 0xac, 0xf1, 8, // SHRD ECX, ESI, 8
		0xc1, 0xee, 8, // SHR ESI, 8
		0x4f,       // DEC EDI
		0x75, 0xf3, // JNZ next
		0xb8, // MOV EAX, entry
	}
	code = binary.LittleEndian.AppendUint32(code, entry)
	return append(code, 0xff, 0xe0) // JMP EAX
}
