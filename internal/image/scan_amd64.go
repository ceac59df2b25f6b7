package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/arch/x86/x86asm"
)

// Only the gate and the thread layer's nucleus call may have a SYSCALL instruction. The names of
// the gate's functions begin with gatePrefix.
const (
	gatePrefix  = "runtime.pithgate"
	nucleusGate = "runtime.vmnucleus"
)

// systemCalls finds the instructions that enter a kernel (Intel SDM 2B SYSCALL, SYSENTER; 2A
// INT n) outside of the gate. The bytes of such an instruction may also be part of a constant or
// an address. So systemCalls decodes each function that contains these bytes.
func (p *program) systemCalls() ([]Syscall, error) {
	counts := map[string]int{}
	for _, sec := range p.elf.Sections {
		if sec.Flags&elf.SHF_EXECINSTR == 0 {
			continue
		}
		text, err := sec.Data()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sec.Name, err)
		}
		for _, op := range [][]byte{{0x0F, 0x05}, {0x0F, 0x34}, {0xCD, 0x80}} {
			for pos := 0; ; pos++ {
				i := bytes.Index(text[pos:], op)
				if i < 0 {
					break
				}
				pos += i
				addr := sec.Addr + uint64(pos)
				f, ok := p.function(addr)
				if !ok {
					counts[fmt.Sprintf("%#x", addr)]++
					continue
				}
				if strings.HasPrefix(f.name, gatePrefix) || f.name == nucleusGate {
					continue
				}
				if start, _ := instructionAround(p.body(f), int(addr-f.addr)); start == int(addr-f.addr) {
					counts[f.name]++
				}
			}
		}
	}
	var found []Syscall
	for name, n := range counts {
		found = append(found, Syscall{name, n})
	}
	slices.SortFunc(found, func(a, b Syscall) int { return strings.Compare(a.Function, b.Function) })
	return found, nil
}

// instructionAround decodes a function and returns the instruction that contains the byte at
// offset. If x86asm does not know the instruction, it returns only the start.
func instructionAround(code []byte, offset int) (start int, inst x86asm.Inst) {
	for start = 0; ; {
		inst, err := x86asm.Decode(code[start:], 64)
		size := inst.Len
		if err != nil {
			inst, size = x86asm.Inst{}, vectorLen(code[start:])
		}
		if start+size > offset {
			return start, inst
		}
		start += size
	}
}

// vectorLen returns the length in bytes of an instruction that x86asm does not know. It knows VEX
// (Intel SDM 2A §2.3), EVEX (§2.7) and the three-byte opcode maps (§2.1.2). For any other
// instruction it returns 1. Decoding finds the next instruction again after a few such bytes.
func vectorLen(code []byte) int {
	const maxLen = 15
	c := make([]byte, maxLen+1) // zeros behind short code
	copy(c, code)
	var opcode, opcodeMap int
	switch c[0] {
	case 0xC5: // two-byte VEX
		opcode, opcodeMap = 2, 1
	case 0xC4: // three-byte VEX
		opcode, opcodeMap = 3, int(c[1]&0x1F)
	case 0x62: // EVEX
		opcode, opcodeMap = 4, int(c[1]&7)
	default:
		i := 0
		for i < 4 && (c[i] == 0x66 || c[i] == 0xF2 || c[i] == 0xF3 || c[i]&0xF0 == 0x40) {
			i++
		}
		if c[i] != 0x0F || (c[i+1] != 0x38 && c[i+1] != 0x3A) {
			return 1
		}
		opcode, opcodeMap = i+2, 2
		if c[i+1] == 0x3A {
			opcodeMap = 3
		}
	}
	op := c[opcode]
	if opcodeMap == 1 && op == 0x77 { // VZEROUPPER, VZEROALL: no operands
		return opcode + 1
	}
	n := opcode + 1 + operandLen(c[opcode+1], c[opcode+2])
	if opcodeMap == 3 || opcodeMap == 1 && (op >= 0x70 && op <= 0x73 || op == 0xC2 || op >= 0xC4 && op <= 0xC6) {
		n++ // immediate byte
	}
	return n
}

// operandLen returns the length of ModR/M, SIB and displacement (Intel SDM 2A §2.1.3).
func operandLen(modrm, sib byte) int {
	mod, rm := modrm>>6, modrm&7
	n := 1
	if mod != 3 && rm == 4 {
		n++
		if mod == 0 && sib&7 == 5 {
			n += 4
		}
	}
	switch {
	case mod == 1:
		n++
	case mod == 2, mod == 0 && rm == 5:
		n += 4
	}
	return n
}
