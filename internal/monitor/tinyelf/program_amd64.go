package tinyelf

import (
	"debug/elf"
	"encoding/binary"
)

// machine is the architecture in the ELF header.
const machine = elf.EM_X86_64

// Reg is a general register.
type Reg byte

// The registers, as instructions encode them.
const (
	RAX Reg = iota
	RCX
	RDX
	RBX
	RSP
	RBP
	RSI
	RDI
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
)

// Imm is an immediate value.
type Imm uint64

// Value is an operand of an instruction: a Reg or an Imm.
type Value interface{ moveTo(p *Program, r Reg) }

// Program assembles an executable for Linux. The zero value is empty, and each
// method appends code or data.
type Program struct {
	text, data []byte
	// WritableText makes the text segment writable too.
	WritableText bool
}

// Raw appends instructions.
func (p *Program) Raw(code ...byte) { p.text = append(p.text, code...) }

// Data places b in the data segment and returns its address. Bytes of the
// segment that were never placed are zero.
func (p *Program) Data(b []byte) Imm {
	addr := DataAddr + len(p.data)
	p.data = append(p.data, b...)
	for len(p.data)%8 != 0 {
		p.data = append(p.data, 0)
	}
	return Imm(addr)
}

// CString places s and a NUL.
func (p *Program) CString(s string) Imm { return p.Data(append([]byte(s), 0)) }

func rex(reg, rm Reg) byte { return 0x48 | byte(reg>>3)<<2 | byte(rm>>3) }

func modRM(mod byte, reg, rm Reg) byte { return mod<<6 | byte(reg&7)<<3 | byte(rm&7) }

func (v Imm) moveTo(p *Program, r Reg) { // MOV r64, imm64
	p.Raw(rex(0, r), 0xb8|byte(r&7))
	p.text = binary.LittleEndian.AppendUint64(p.text, uint64(v))
}

func (v Reg) moveTo(p *Program, r Reg) { p.Raw(rex(v, r), 0x89, modRM(3, v, r)) } // MOV r64, r64

// Move sets register r.
func (p *Program) Move(r Reg, v Value) { v.moveTo(p, r) }

// Load reads the 64 bits at addr into RAX. It changes RBX.
func (p *Program) Load(addr Value) {
	p.Move(RBX, addr)
	p.Raw(rex(RAX, RBX), 0x8b, modRM(0, RAX, RBX))
}

// Store writes the 64 bits of v to addr. It changes RAX and RBX.
func (p *Program) Store(addr, v Value) {
	p.Move(RAX, v)
	p.Move(RBX, addr)
	p.Raw(rex(RAX, RBX), 0x89, modRM(0, RAX, RBX))
}

// LoadStack reads the 64 bits at offset from the stack pointer. At the program's
// start the stack holds argc, the arguments, 0, the environment and 0 (System V
// ABI, x86-64 supplement, "Initial Stack").
func (p *Program) LoadStack(r Reg, offset byte) {
	p.Raw(rex(r, RSP), 0x8b, modRM(1, r, RSP), 0x24, offset)
}

// Call calls the code at addr. It changes RBX.
func (p *Program) Call(addr Value) {
	p.Move(RBX, addr)
	p.Raw(0xff, modRM(3, 2, RBX))
}

// Syscall makes a system call. Its result is in RAX. It changes RCX and R11. No
// argument may be a register that already holds an earlier argument.
func (p *Program) Syscall(number uint64, args ...Value) {
	for i, arg := range args {
		p.Move([]Reg{RDI, RSI, RDX, R10, R8, R9}[i], arg)
	}
	p.Move(RAX, Imm(number))
	p.Raw(0x0f, 0x05)
}

// IfZero runs the code that then appends only when RAX is zero.
func (p *Program) IfZero(then func()) {
	p.Raw(0x48, 0x85, 0xc0, 0x0f, 0x85) // TEST RAX, RAX; JNZ rel32
	at := len(p.text)
	p.Raw(0, 0, 0, 0)
	then()
	binary.LittleEndian.PutUint32(p.text[at:], uint32(len(p.text)-at-4))
}

// Forever repeats the code that body appends.
func (p *Program) Forever(body func()) {
	start := len(p.text)
	body()
	p.Raw(0xe9) // JMP rel32
	p.text = binary.LittleEndian.AppendUint32(p.text, uint32(start-len(p.text)-4))
}

// Until repeats the code that body appends until that code leaves zero in RAX.
func (p *Program) Until(body func()) {
	start := len(p.text)
	body()
	p.Raw(0x48, 0x85, 0xc0, 0x0f, 0x85) // TEST RAX, RAX; JNZ rel32
	p.text = binary.LittleEndian.AppendUint32(p.text, uint32(start-len(p.text)-4))
}

// Func appends a function that the surrounding code skips. It returns the
// function's address.
func (p *Program) Func(body func()) Imm {
	p.Raw(0xe9) // JMP rel32
	at := len(p.text)
	p.Raw(0, 0, 0, 0)
	addr := Imm(TextAddr + len(p.text))
	body()
	binary.LittleEndian.PutUint32(p.text[at:], uint32(len(p.text)-at-4))
	return addr
}

const sysExitGroup = 231

// Exit ends the program with an exit code.
func (p *Program) Exit(code byte) { p.Syscall(sysExitGroup, Imm(code)) }

// ExitErrno ends the program. The exit code is the error number of the last system
// call, -RAX. It is 0 if the call returned 0.
func (p *Program) ExitErrno() {
	p.Raw(0x48, 0xf7, 0xd8) // NEG RAX
	p.Syscall(sysExitGroup, RAX)
}

// Bytes returns the executable file.
func (p *Program) Bytes() []byte {
	text := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Align: page,
		Vaddr: TextAddr, Memsz: uint64(len(p.text)),
	}
	if p.WritableText {
		text.Flags |= uint32(elf.PF_W)
	}
	data := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W), Align: page,
		Vaddr: DataAddr, Memsz: DataSize,
	}
	// Without this header Linux makes all readable memory executable
	// (before 5.8) or the stack.
	stack := elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W)}
	return executable(TextAddr, segment{text, p.text}, segment{data, p.data}, segment{stack, nil})
}
