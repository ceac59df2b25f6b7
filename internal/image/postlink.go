package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/pith-os/pith/internal/version"
	"github.com/pith-os/pith/libos/boot"
)

const (
	pageSize    = 4096
	sectionSize = 64 // sizeof(Elf64_Shdr)
)

// link makes an image of a program. It appends the segment with the archive of root files and
// the notes, and writes new program and section headers.
//
// The program headers grow in place. The linker keeps a page for headers before the text, and
// puts the section headers right behind the program headers. link moves the section headers to
// the end of the file.
func (p *program) link(name string, m *Manifest, archive []byte) ([]byte, error) {
	m.Root.Size = int64(len(archive))
	sum := sha256.Sum256(archive)
	m.Root.Digest = digestString(sum[:])

	var fileEnd, addrEnd uint64
	for _, s := range p.progs {
		if elf.ProgType(s.Type) == elf.PT_LOAD {
			fileEnd, addrEnd = max(fileEnd, s.Off+s.Filesz), max(addrEnd, s.Vaddr+s.Memsz)
		}
	}
	segOff := align(fileEnd, pageSize)
	segAddr := align(addrEnd, pageSize) + pageSize // an unmapped page follows .bss
	if err := p.setRoot(segAddr, uint64(len(archive))); err != nil {
		return nil, err
	}

	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	segment := pad(bytes.Clone(archive), 8)
	parameters := ownParameters(name, m)
	parametersOff := uint64(len(segment))
	segment = pad(append(segment, parameters...), 8)
	notesOff := uint64(len(segment))
	entryOff := 0
	if p.hasGate() {
		segment, entryOff = appendNote(segment, pvhName, pvhEntry, make([]byte, 8))
	}
	segment, _ = appendNote(segment, noteName, noteManifest, manifest)
	segment, digestOff := appendNote(segment, noteName, noteDigest, make([]byte, sha256.Size))
	notesLen := uint64(len(segment)) - notesOff
	if p.hasGate() {
		entry, err := p.setMachine(segAddr+parametersOff, uint64(len(parameters)), segAddr+uint64(len(segment)))
		if err != nil {
			return nil, err
		}
		binary.LittleEndian.PutUint64(segment[entryOff:], entry)
	}

	segmentHeader := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R), Align: pageSize,
		Off: segOff, Vaddr: segAddr, Paddr: segAddr,
		Filesz: uint64(len(segment)), Memsz: uint64(len(segment)),
	}
	noteHeader := elf.Prog64{
		Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Align: 4,
		Off: segOff + notesOff, Vaddr: segAddr + notesOff, Paddr: segAddr + notesOff,
		Filesz: notesLen, Memsz: notesLen,
	}
	progs, err := p.grow(segmentHeader, noteHeader)
	if err != nil {
		return nil, err
	}

	out := make([]byte, segOff, int(segOff)+len(segment)+len(p.data)-int(fileEnd)+pageSize)
	copy(out, p.data[:fileEnd])
	out = append(out, segment...)

	sections, names, out := p.sections(out)
	sections = append(sections,
		newSection(&names, ".pith.root", elf.SHT_PROGBITS, segAddr, segOff, uint64(len(archive)), 8),
		newSection(&names, ".note.pith", elf.SHT_NOTE, noteHeader.Vaddr, noteHeader.Off, notesLen, 4))
	strtab := newSection(&names, ".shstrtab", elf.SHT_STRTAB, 0, uint64(len(out)), 0, 1)
	strtab.Flags, strtab.Size = 0, uint64(len(names))
	sections = append(sections, strtab)
	out = pad(append(out, names...), 8)

	hdr := p.hdr
	hdr.Phnum = uint16(len(progs))
	hdr.Shoff, hdr.Shnum, hdr.Shstrndx = uint64(len(out)), uint16(len(sections)), uint16(len(sections)-1)
	if out, err = binary.Append(out, binary.LittleEndian, sections); err != nil {
		return nil, err
	}
	head, err := binary.Append(nil, binary.LittleEndian, hdr)
	if err == nil {
		head, err = binary.Append(head, binary.LittleEndian, progs)
	}
	if err != nil {
		return nil, err
	}
	copy(out, head)

	digest := sha256.Sum256(out)
	copy(out[segOff+uint64(digestOff):], digest[:])
	return out, nil
}

// grow returns the program headers with more added. It clears the section headers that follow
// them in the file.
func (p *program) grow(more ...elf.Prog64) ([]elf.Prog64, error) {
	progs := append(p.progs[:len(p.progs):len(p.progs)], more...)
	end := p.hdr.Phoff + uint64(len(progs))*progSize
	first := uint64(len(p.data)) // offset of the first data behind the headers
	for _, s := range p.elf.Sections {
		if s.Type != elf.SHT_NULL && s.Type != elf.SHT_NOBITS {
			first = min(first, s.Offset)
		}
	}
	if p.hdr.Phoff != uint64(binary.Size(p.hdr)) || end > first {
		return nil, errors.New("the linker left no room for more program headers")
	}
	if shEnd := p.hdr.Shoff + uint64(p.hdr.Shnum)*sectionSize; shEnd <= first {
		clear(p.data[p.hdr.Shoff:shEnd])
	}
	for i := range progs {
		if elf.ProgType(progs[i].Type) == elf.PT_PHDR {
			progs[i].Filesz = uint64(len(progs)) * progSize
			progs[i].Memsz = progs[i].Filesz
		}
	}
	return progs, nil
}

// sections returns the headers of the linker's sections and their names. It appends the
// contents of sections that are not loaded to the file.
func (p *program) sections(out []byte) ([]elf.Section64, []byte, []byte) {
	kept := []elf.Section64{{}} // SHN_UNDEF
	names := []byte{0}
	index := map[uint32]uint32{} // old section number to new, for sh_link
	for i, s := range p.elf.Sections {
		if s.Type == elf.SHT_NULL || s.Name == ".shstrtab" {
			continue
		}
		h := elf.Section64{
			Name: addName(&names, s.Name), Type: uint32(s.Type), Flags: uint64(s.Flags),
			Addr: s.Addr, Off: s.Offset, Size: s.FileSize,
			Link: s.Link, Info: s.Info, Addralign: s.Addralign, Entsize: s.Entsize,
		}
		if s.Type == elf.SHT_NOBITS {
			h.Size = s.Size
		}
		if s.Flags&elf.SHF_ALLOC == 0 {
			out = pad(out, int(max(s.Addralign, 1)))
			h.Off = uint64(len(out))
			out = append(out, p.data[s.Offset:s.Offset+s.FileSize]...)
		}
		index[uint32(i)] = uint32(len(kept))
		kept = append(kept, h)
	}
	for i := range kept {
		kept[i].Link = index[kept[i].Link]
	}
	return kept, names, pad(out, 8)
}

// newSection returns the header of a section that is loaded read-only.
func newSection(names *[]byte, name string, kind elf.SectionType, addr, off, size, alignment uint64) elf.Section64 {
	return elf.Section64{
		Name: addName(names, name), Type: uint32(kind), Flags: uint64(elf.SHF_ALLOC),
		Addr: addr, Off: off, Size: size, Addralign: alignment,
	}
}

func addName(names *[]byte, name string) uint32 {
	at := len(*names)
	*names = append(*names, name+"\x00"...)
	return uint32(at)
}

// manifest returns the manifest of a program.
func (p *program) manifest() (*Manifest, error) {
	m := &Manifest{versions: versions{FormatVersion, boot.Version, version.Get().String()}, Go: p.info.GoVersion, Package: p.info.Path, Parts: []string{}}
	for _, part := range []struct{ name, pkg string }{{"core", "pith/libos/sys"}, {"net", "pith/libos/inet"}} {
		if p.hasPackage(part.pkg) {
			m.Parts = append(m.Parts, part.name)
		}
	}
	if main := p.info.Main; main.Path != "" {
		m.Modules = append(m.Modules, Module{Path: main.Path, Version: main.Version, Sum: main.Sum})
	}
	for _, d := range p.info.Deps {
		mod := Module{Path: d.Path, Version: d.Version, Sum: d.Sum}
		if r := d.Replace; r != nil {
			mod.Sum, mod.Replace = r.Sum, strings.TrimSuffix(r.Path+"@"+r.Version, "@")
		}
		m.Modules = append(m.Modules, mod)
	}
	var err error
	if m.Traps, err = p.systemCalls(); err != nil {
		return nil, fmt.Errorf("looking for system call instructions: %w", err)
	}
	return m, nil
}
