package image

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// program is a linked Go program. It needs no symbol table.
type program struct {
	data  []byte
	hdr   elf.Header64
	progs []elf.Prog64
	elf   *elf.File
	info  *debug.BuildInfo

	text     []byte // the program's code
	textAddr uint64
	funcs    []function            // by address
	named    map[string][]function // by name
}

// parseProgram reads the executable that go build wrote. The program keeps data and modifies it.
func parseProgram(data []byte) (*program, error) {
	r := bytes.NewReader(data)
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elfMachine || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("it is a %v %v of type %v, not a static executable for linux/%s", f.Class, f.Machine, f.Type, runtime.GOARCH)
	}
	p := &program{data: data, elf: f}
	if p.info, err = buildinfo.Read(r); err != nil {
		return nil, err
	}
	if err := readStruct(r, 0, &p.hdr); err != nil {
		return nil, err
	}
	p.progs = make([]elf.Prog64, p.hdr.Phnum)
	if err := readStruct(r, int64(p.hdr.Phoff), p.progs); err != nil {
		return nil, err
	}
	for _, s := range p.progs {
		if s.Off > uint64(len(data)) || s.Filesz > uint64(len(data))-s.Off {
			return nil, errors.New("it is truncated")
		}
	}
	return p, p.findFunctions()
}

// at returns the size bytes of the file that are mapped at addr.
func (p *program) at(addr, size uint64) ([]byte, error) {
	for _, s := range p.progs {
		if elf.ProgType(s.Type) == elf.PT_LOAD && addr >= s.Vaddr && addr-s.Vaddr < s.Filesz && size <= s.Filesz-(addr-s.Vaddr) {
			off := s.Off + addr - s.Vaddr
			return p.data[off : off+size], nil
		}
	}
	return nil, fmt.Errorf("address %#x is not in the file", addr)
}

// rootMagic is the beginning of libos/image.Root before setRoot.
const rootMagic = "\x9bpith image.Root"

var errOtherVersion = errors.New("it was linked by the Go of another version of pith, or is an image already")

// setRoot writes the address and size of the root files for the library OS. A program without
// system calls has the runtime's gate but no library OS, so it has no place for them.
func (p *program) setRoot(addr, size uint64) error {
	b, err := p.slot(rootMagic)
	switch {
	case err != nil:
		return err
	case len(b) >= slotSize:
		binary.LittleEndian.PutUint64(b, addr)
		binary.LittleEndian.PutUint64(b[8:], size)
		return nil
	case !p.hasGate():
		return ErrNotDerived
	case p.hasPackage("pith/libos/vfs/rootfs"): // this package reads libos/image.Root
		return errOtherVersion
	}
	return nil
}
