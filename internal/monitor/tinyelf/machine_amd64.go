package tinyelf

import (
	"debug/elf"
	"encoding/binary"
)

// The memory of a Machine. Zeroed memory follows the code, which may use it.
const (
	MachineAddr = 0x100000
	MachineSize = 1 << 20
)

// Machine assembles code for a virtual machine. The code starts in the state that
// the PVH boot ABI defines (Xen, docs/misc/pvh.pandoc): one vCPU in 32-bit
// protected mode, flat segments, no paging, no stack. EBX holds the address of
// struct hvm_start_info. The zero value is empty, and each method appends code.
type Machine struct{ code []byte }

// Raw appends instructions.
func (m *Machine) Raw(code ...byte) { m.code = append(m.code, code...) }

// Here returns the address of the next instruction.
func (m *Machine) Here() uint32 { return MachineAddr + uint32(len(m.code)) }

// Code returns the code, which runs at MachineAddr.
func (m *Machine) Code() []byte { return m.code }

// Out writes the bytes of s to an I/O port, one by one. It changes EAX and EDX.
func (m *Machine) Out(port uint16, s string) {
	m.port(port)
	for _, b := range []byte(s) {
		m.Raw(0xb0, b, 0xee) // MOV AL, b; OUT DX, AL
	}
}

func (m *Machine) port(port uint16) {
	m.Raw(0x66, 0xba, byte(port), byte(port>>8)) // MOV DX, port
}

// OutCommandLine writes the command line to an I/O port. It changes EAX, EDX and
// ESI.
func (m *Machine) OutCommandLine(port uint16) {
	m.Raw(0x8b, 0x73, 24) // MOV ESI, [EBX+cmdline_paddr]
	m.port(port)
	m.Raw(0xac, 0x84, 0xc0, 0x74, 3, 0xee, 0xeb, 0xf8) // LODSB; TEST AL, AL; JZ end; OUT DX, AL; JMP LODSB
}

// OutModule writes the first boot module to an I/O port. It changes EAX, ECX, EDX
// and ESI.
func (m *Machine) OutModule(port uint16) {
	m.Raw(0x8b, 0x73, 16) // MOV ESI, [EBX+modlist_paddr]
	m.Raw(0x8b, 0x4e, 8)  // MOV ECX, [ESI+size]
	m.Raw(0x8b, 0x36)     // MOV ESI, [ESI+paddr]
	m.port(port)
	m.Raw(0xac, 0xee, 0xe2, 0xfc) // LODSB; OUT DX, AL; LOOP LODSB
}

// Store writes the 32 bits of v to addr.
func (m *Machine) Store(addr, v uint32) {
	m.Raw(0xc7, 0x05) // MOV DWORD [addr], v
	m.word(addr)
	m.word(v)
}

// Until repeats the code that body appends until the 32 bits at addr, masked with
// mask, equal v. It changes EAX.
func (m *Machine) Until(addr, mask, v uint32, body func()) {
	start := m.Here()
	body()
	m.Raw(0xa1) // MOV EAX, [addr]
	m.word(addr)
	m.Raw(0x25) // AND EAX, mask
	m.word(mask)
	m.Raw(0x3d) // CMP EAX, v
	m.word(v)
	m.Raw(0x0f, 0x85) // JNE start
	m.word(start - m.Here() - 4)
}

// Loop executes two instructions n times. It changes ECX.
func (m *Machine) Loop(n uint32) {
	m.Raw(0xb9) // MOV ECX, n
	m.word(n)
	m.Raw(0x49, 0x75, 0xfd) // DEC ECX; JNZ to it
}

// Forever repeats the code that body appends.
func (m *Machine) Forever(body func()) {
	start := m.Here()
	body()
	m.Raw(0xe9) // JMP start
	m.word(start - m.Here() - 4)
}

// EnableVector enables the vector unit and uses it once (CR0.EM, CR0.MP,
// CR4.OSFXSR, CR4.OSXMMEXCPT; Intel SDM 3A §9.6). It changes EAX.
func (m *Machine) EnableVector() {
	m.Raw(0x0f, 0x20, 0xe0, 0x0d, 0x00, 0x06, 0x00, 0x00, 0x0f, 0x22, 0xe0) // CR4 |= OSFXSR|OSXMMEXCPT
	m.Raw(0x0f, 0x20, 0xc0, 0x83, 0xe0, 0xfb, 0x83, 0xc8, 0x02, 0x0f, 0x22, 0xc0)
	m.Raw(0x66, 0x0f, 0xef, 0xc0) // PXOR XMM0, XMM0
}

// Halt stops the CPU for good.
func (m *Machine) Halt() { m.Raw(0xfa, 0xf4, 0xeb, 0xfd) } // CLI; HLT; JMP HLT

func (m *Machine) word(v uint32) { m.code = binary.LittleEndian.AppendUint32(m.code, v) }

// physEntry is the type of the note XEN_ELFNOTE_PHYS32_ENTRY. It holds the
// guest-physical address of the entry and makes an ELF file bootable by PVH.
const physEntry = 18

// Bytes returns the executable file.
func (m *Machine) Bytes() []byte {
	var note []byte
	for _, v := range []uint32{4, 4, physEntry, 'X' | 'e'<<8 | 'n'<<16, MachineAddr} {
		note = binary.LittleEndian.AppendUint32(note, v)
	}
	code := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X), Align: page,
		Vaddr: MachineAddr, Memsz: MachineSize,
	}
	notes := elf.Prog64{Type: uint32(elf.PT_NOTE), Flags: uint32(elf.PF_R), Align: 4, Memsz: uint64(len(note))}
	return executable(MachineAddr, segment{code, m.code}, segment{notes, note})
}
