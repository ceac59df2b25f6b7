package image

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// This file reads a program's functions from the table that the runtime uses to unwind stacks.
// Every Go executable has this table, but not every one has a symbol table. The layout is that
// of Go 1.20 and later (cmd/link/internal/ld/pcln.go, runtime.pcHeader and runtime._func). A
// different layout has a different magic number. debug/gosym reads the table, too. But it
// cannot distinguish an assembly function from the wrapper of the same name for Go callers.

// function is a function of a program. Its size includes padding.
type function struct {
	name       string
	addr, size uint64
	assembly   bool
}

func (f function) end() uint64 { return f.addr + f.size }

const (
	functionTable = ".gopclntab"
	tableMagic    = 0xfffffff1
	tableEntry    = 8  // offsets of the function's code and of its record
	recordSize    = 44 // sizeof(runtime._func)
	recordName    = 4
	recordFlag    = 41
	flagAssembly  = 1 << 2 // abi.FuncFlagAsm
)

// tableHeader is runtime.pcHeader. Its offsets are relative to its start.
type tableHeader struct {
	Magic        uint32
	_            [2]byte
	MinLC, Word  uint8
	Functions    uint64
	_, _         uint64 // number of files; start of the code, absent with newer linkers
	Names        uint64
	_, _, _      uint64
	FunctionsOff uint64
}

var errFunctionTable = errors.New("the table of functions is damaged")

// readFunctions reads a table of functions. The functions' code has size bytes and starts at
// address text.
func readFunctions(table []byte, text, size uint64) ([]function, error) {
	var h tableHeader
	if _, err := binary.Decode(table, binary.LittleEndian, &h); err != nil {
		return nil, errFunctionTable
	}
	if h.Magic != tableMagic || h.MinLC != 1 || h.Word != 8 {
		return nil, fmt.Errorf("the table of functions has the unknown format %#x", h.Magic)
	}
	if h.Names > uint64(len(table)) || h.FunctionsOff > uint64(len(table)) {
		return nil, errFunctionTable
	}
	names, records := string(table[h.Names:]), table[h.FunctionsOff:]
	if uint64(len(records)) < 4 || h.Functions > (uint64(len(records))-4)/tableEntry {
		return nil, errFunctionTable
	}
	word := func(at uint64) uint64 { return uint64(binary.LittleEndian.Uint32(records[at:])) }
	funcs := make([]function, h.Functions)
	for i := range funcs {
		at := uint64(i) * tableEntry
		entry, record, next := word(at), word(at+4), word(at+tableEntry)
		if entry > next || next > size || record+recordSize > uint64(len(records)) || word(record) != entry {
			return nil, errFunctionTable
		}
		start := word(record + recordName)
		if start > uint64(len(names)) {
			return nil, errFunctionTable
		}
		length := strings.IndexByte(names[start:], 0)
		if length < 0 {
			return nil, errFunctionTable
		}
		funcs[i] = function{
			name: names[start:][:length],
			addr: text + entry, size: next - entry,
			assembly: records[record+recordFlag]&flagAssembly != 0,
		}
	}
	return funcs, nil
}

// findFunctions finds the program's code and its functions.
func (p *program) findFunctions() error {
	table, text := p.elf.Section(functionTable), p.elf.Section(".text")
	if table == nil || text == nil {
		return errors.New("it has no table of functions: Go did not link it")
	}
	data, err := table.Data()
	if err != nil {
		return fmt.Errorf("%s: %w", functionTable, err)
	}
	if p.text, err = p.at(text.Addr, text.Size); err != nil {
		return fmt.Errorf("its code: %w", err)
	}
	p.textAddr = text.Addr
	if p.funcs, err = readFunctions(data, text.Addr, text.Size); err != nil {
		return err
	}
	p.named = map[string][]function{}
	for _, f := range p.funcs {
		p.named[f.name] = append(p.named[f.name], f)
	}
	return nil
}

// has reports whether the linker kept a function. It does so if the program can reach it.
func (p *program) has(name string) bool { return len(p.named[name]) > 0 }

// hasPackage reports whether the linker kept a function of a package.
func (p *program) hasPackage(path string) bool { return p.hasPrefix(path + ".") }

// hasGate reports whether the program was linked with a derived distribution.
func (p *program) hasGate() bool { return p.hasPrefix(gatePrefix) }

func (p *program) hasPrefix(prefix string) bool {
	return slices.ContainsFunc(p.funcs, func(f function) bool { return strings.HasPrefix(f.name, prefix) })
}

// function returns the function that contains an address.
func (p *program) function(addr uint64) (function, bool) {
	i, found := slices.BinarySearchFunc(p.funcs, addr, func(f function, a uint64) int { return cmp.Compare(f.addr, a) })
	if !found {
		i--
	}
	if i < 0 || addr >= p.funcs[i].end() {
		return function{}, false
	}
	return p.funcs[i], true
}

// assembly finds the assembly function with the given name and arguments on the stack (ABI0).
// A program can have one function for each of Go's two calling conventions. If it has both,
// assembly returns an error, because it cannot distinguish them.
func (p *program) assembly(name string) (f function, ok bool, err error) {
	for _, g := range p.named[name] {
		if !g.assembly {
			continue
		}
		if ok {
			return function{}, false, fmt.Errorf("there are two assembly functions %s", name)
		}
		f, ok = g, true
	}
	return f, ok, nil
}

// body returns the code of a function.
func (p *program) body(f function) []byte { return p.text[f.addr-p.textAddr:][:f.size] }

// slotSize is the size in bytes of the magic value that slot searches for.
const slotSize = 16

// slot finds the variable that begins with a magic value, and returns the memory from there
// on. It returns nil if the linker left the variable out.
//
// The linker puts an initialised variable into a writable segment, at a multiple of 8 bytes. No
// other data have the magic value. Only the library OS's sources in the derived distribution
// contain it.
func (p *program) slot(magic string) ([]byte, error) {
	var found []byte
	for _, s := range p.progs {
		if elf.ProgType(s.Type) != elf.PT_LOAD || elf.ProgFlag(s.Flags)&elf.PF_W == 0 {
			continue
		}
		mem := p.data[s.Off : s.Off+s.Filesz]
		for at := 0; ; at++ {
			i := bytes.Index(mem[at:], []byte(magic))
			if i < 0 {
				break
			}
			at += i
			if (s.Vaddr+uint64(at))%8 != 0 {
				continue
			}
			if found != nil {
				return nil, errors.New("the program has a variable of the library OS twice: it embeds another program")
			}
			found = mem[at:]
		}
	}
	return found, nil
}
