package image

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// program is a linked Go program, as the linker wrote it, before it becomes an
// image. Its symbol table says what is in it and where.
type program struct {
	data  []byte
	hdr   elf.Header64
	progs []elf.Prog64
	elf   *elf.File
	info  *debug.BuildInfo
	funcs []elf.Symbol // text symbols by address
	named map[string]elf.Symbol
}

// parseProgram reads what go build wrote. It keeps data and changes it.
func parseProgram(data []byte) (*program, error) {
	r := bytes.NewReader(data)
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS64 || f.Machine != elf.EM_X86_64 || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("it is a %v %v of type %v, not a static linux/amd64 executable", f.Class, f.Machine, f.Type)
	}
	p := &program{data: data, elf: f, named: map[string]elf.Symbol{}}
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
	syms, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	for _, s := range syms {
		p.named[s.Name] = s
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			p.funcs = append(p.funcs, s)
		}
	}
	slices.SortFunc(p.funcs, func(a, b elf.Symbol) int { return cmp.Compare(a.Value, b.Value) })
	return p, nil
}

// has reports whether the linker kept a symbol: whether the program can reach it.
func (p *program) has(name string) bool {
	_, ok := p.named[name]
	return ok
}

// hasPackage reports whether the linker kept a function of a package.
func (p *program) hasPackage(path string) bool {
	return slices.ContainsFunc(p.funcs, func(s elf.Symbol) bool { return strings.HasPrefix(s.Name, path+".") })
}

// hasGate reports whether the program was linked with a derived distribution.
func (p *program) hasGate() bool {
	return slices.ContainsFunc(p.funcs, func(f elf.Symbol) bool { return strings.HasPrefix(f.Name, gatePrefix) })
}

// function finds the function around an address.
func (p *program) function(addr uint64) (elf.Symbol, bool) {
	i, found := slices.BinarySearchFunc(p.funcs, addr, func(s elf.Symbol, a uint64) int { return cmp.Compare(s.Value, a) })
	if !found {
		i--
	}
	if i < 0 || addr-p.funcs[i].Value >= p.funcs[i].Size {
		return elf.Symbol{}, false
	}
	return p.funcs[i], true
}

// at is the part of the file that is mapped at addr, size bytes of it.
func (p *program) at(addr, size uint64) ([]byte, error) {
	for _, s := range p.progs {
		if elf.ProgType(s.Type) == elf.PT_LOAD && addr >= s.Vaddr && addr-s.Vaddr < s.Filesz && size <= s.Filesz-(addr-s.Vaddr) {
			off := s.Off + addr - s.Vaddr
			return p.data[off : off+size], nil
		}
	}
	return nil, fmt.Errorf("address %#x is not in the file", addr)
}

// body is the code of a function.
func (p *program) body(s elf.Symbol) ([]byte, error) { return p.at(s.Value, s.Size) }

// rootSymbol is libos/image.Root as it is called in the derived distribution.
const rootSymbol = "pith/libos/image.Root"

// setRoot tells the library OS where its root files are. A program that makes
// no system call of its own has the runtime's gate, and nothing above it.
func (p *program) setRoot(addr, size uint64) error {
	s, ok := p.named[rootSymbol]
	if !ok && p.hasGate() {
		return nil
	}
	if !ok || s.Size != 16 {
		return errors.New("the program has no library OS in it: it was not linked with a derived Go distribution")
	}
	b, err := p.at(s.Value, s.Size)
	if err != nil {
		return fmt.Errorf("%s: %w", rootSymbol, err)
	}
	binary.LittleEndian.PutUint64(b, addr)
	binary.LittleEndian.PutUint64(b[8:], size)
	return nil
}

// noErrorTarget makes a system call that cannot fail. It has the arguments and
// results of the functions that are diverted to it, on the stack (ABI0).
const noErrorTarget = "syscall.rawSyscallNoError"

// divertNoError diverts the two functions of golang.org/x/sys/unix that have a
// SYSCALL instruction of their own; its others jump to package syscall. They
// cannot be edited before linking: the package is the user's, at any version.
func (p *program) divertNoError() error {
	for _, name := range []string{"SyscallNoError", "RawSyscallNoError"} {
		s, ok := p.abi0("golang.org/x/sys/unix." + name)
		if !ok {
			continue
		}
		target, ok := p.abi0(noErrorTarget)
		if !ok {
			return errors.New("the derived Go distribution has no " + noErrorTarget)
		}
		code, err := p.body(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		const jmpRel32, int3, jmpLen = 0xE9, 0xCC, 5
		if len(code) < jmpLen {
			return fmt.Errorf("%s is too short to divert", s.Name)
		}
		for i := range code {
			code[i] = int3
		}
		code[0] = jmpRel32
		binary.LittleEndian.PutUint32(code[1:], uint32(target.Value-(s.Value+jmpLen)))
	}
	return nil
}

// abi0Suffix tells the form of an assembly function that has its arguments on
// the stack from a wrapper for Go's callers (cmd/link, mangleABIName).
const abi0Suffix = ".abi0"

// abi0 finds the former, which has no suffix where there is no wrapper.
func (p *program) abi0(name string) (elf.Symbol, bool) {
	if s, ok := p.named[name+abi0Suffix]; ok {
		return s, true
	}
	s, ok := p.named[name]
	return s, ok
}
