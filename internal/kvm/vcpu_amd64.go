package kvm

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Requests of a vCPU's descriptor.
const (
	GetRegs       = 0x8090ae81
	setRegs       = 0x4090ae82
	GetSregs      = 0x8138ae83
	setSregs      = 0x4138ae84
	getMSRs       = 0xc008ae88
	setMSRs       = 0x4008ae89
	setCPUID2     = 0x4008ae90
	setGuestDebug = 0x4048ae9b
	getTSCKHz     = 0xaea3
)

// ExitIO is the reason that Run returns when the guest accesses an I/O port.
const ExitIO = 2

// IO is the guest's access to an I/O port: units of Size bytes, one after the other.
type IO struct {
	Port  uint16
	Write bool
	Size  int
	Data  []byte // the bytes that the guest writes, or the buffer for the bytes that it reads; shared with KVM
}

// IO returns the access that caused ExitIO.
func (c *VCPU) IO() (io IO, err error) {
	u := c.run[runUnion:]
	size, count := uint64(u[1]), uint64(binary.LittleEndian.Uint32(u[4:]))
	off := binary.LittleEndian.Uint64(u[8:])
	if n := size * count; size == 0 || n > uint64(len(c.run)) || off > uint64(len(c.run))-n {
		return IO{}, fmt.Errorf("KVM reports port data out of range: offset %#x, %d times %d bytes", off, count, size)
	}
	return IO{binary.LittleEndian.Uint16(u[2:]), u[0] == 1, int(size), c.run[off:][:size*count]}, nil
}

// Regs is struct kvm_regs.
type Regs struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8, R9, R10, R11, R12, R13, R14, R15, RIP, RFLAGS uint64
}

// Segment is struct kvm_segment.
type Segment struct {
	Base                                           uint64
	Limit                                          uint32
	Selector                                       uint16
	Type, Present, DPL, DB, S, L, G, AVL, Unusable uint8
	_                                              uint8
}

// Table is struct kvm_dtable.
type Table struct {
	Base  uint64
	Limit uint16
	_     [3]uint16
}

// Sregs is struct kvm_sregs.
type Sregs struct {
	CS, DS, ES, FS, GS, SS, TR, LDT Segment
	GDT, IDT                        Table
	CR0, CR2, CR3, CR4, CR8         uint64
	EFER, APICBase                  uint64
	Interrupts                      [4]uint64
}

// Regs returns the general registers.
func (c *VCPU) Regs() (r Regs, err error) {
	_, err = ioctlPointer("KVM_GET_REGS", c.fd, GetRegs, unsafe.Pointer(&r))
	return r, err
}

// SetRegs sets the general registers.
func (c *VCPU) SetRegs(r *Regs) error {
	_, err := ioctlPointer("KVM_SET_REGS", c.fd, setRegs, unsafe.Pointer(r))
	return err
}

// Sregs returns the system registers.
func (c *VCPU) Sregs() (s Sregs, err error) {
	_, err = ioctlPointer("KVM_GET_SREGS", c.fd, GetSregs, unsafe.Pointer(&s))
	return s, err
}

// SetSregs sets the system registers.
func (c *VCPU) SetSregs(s *Sregs) error {
	_, err := ioctlPointer("KVM_SET_SREGS", c.fd, setSregs, unsafe.Pointer(s))
	return err
}

// SetCPUID sets the vCPU's CPUID entries.
func (c *VCPU) SetCPUID(entries []CPUID) error {
	if len(entries) > maxCPUID {
		return fmt.Errorf("KVM_SET_CPUID2: %d entries", len(entries))
	}
	t := cpuidTable{n: uint32(len(entries))}
	copy(t.entries[:], entries)
	_, err := ioctlPointer("KVM_SET_CPUID2", c.fd, setCPUID2, unsafe.Pointer(&t))
	return err
}

// msrTable is struct kvm_msrs with one entry.
type msrTable struct {
	n, _     uint32
	index, _ uint32
	value    uint64
}

// MSR returns a model-specific register.
func (c *VCPU) MSR(index uint32) (uint64, error) {
	t := msrTable{n: 1, index: index}
	n, err := ioctlPointer("KVM_GET_MSRS", c.fd, getMSRs, unsafe.Pointer(&t))
	if err == nil && n != 1 {
		err = fmt.Errorf("KVM_GET_MSRS: there is no MSR %#x", index)
	}
	return t.value, err
}

// SetMSR sets a model-specific register.
func (c *VCPU) SetMSR(index uint32, value uint64) error {
	t := msrTable{n: 1, index: index, value: value}
	n, err := ioctlPointer("KVM_SET_MSRS", c.fd, setMSRs, unsafe.Pointer(&t))
	if err == nil && n != 1 {
		err = fmt.Errorf("KVM_SET_MSRS: MSR %#x refused", index)
	}
	return err
}

// SingleStep makes Run return ExitDebug after each instruction of the guest.
func (c *VCPU) SingleStep() error {
	const enable, step = 1 << 0, 1 << 1
	// struct kvm_guest_debug
	debug := struct {
		control, _ uint32
		registers  [8]uint64
	}{control: enable | step}
	_, err := ioctlPointer("KVM_SET_GUEST_DEBUG", c.fd, setGuestDebug, unsafe.Pointer(&debug))
	return err
}

// TSCKHz returns the frequency of the vCPU's time stamp counter in kHz.
func (c *VCPU) TSCKHz() (int, error) { return ioctl("KVM_GET_TSC_KHZ", c.fd, getTSCKHz, 0) }

// Begin sets the registers so that the vCPU starts at entry in the state of the PVH boot
// ABI (Xen, docs/misc/pvh.pandoc). That is 32-bit protected mode without paging, with flat
// segments. EBX holds startInfo, the guest-physical address of the start info.
func (c *VCPU) Begin(entry, startInfo uint64) error {
	s, err := c.Sregs()
	if err != nil {
		return err
	}
	data := Segment{Limit: 0xffffffff, Selector: 16, Type: 3, Present: 1, DB: 1, S: 1, G: 1}
	s.CS, s.DS, s.ES, s.FS, s.GS, s.SS = data, data, data, data, data, data
	s.CS.Selector, s.CS.Type = 8, 11
	s.TR = Segment{Limit: 0x67, Type: 11, Present: 1}
	s.CR0 = 1<<0 | 1<<4 // PE, ET
	s.CR4, s.EFER = 0, 0
	if err := c.SetSregs(&s); err != nil {
		return err
	}
	return c.SetRegs(&Regs{RIP: entry, RBX: startInfo, RFLAGS: 2})
}
