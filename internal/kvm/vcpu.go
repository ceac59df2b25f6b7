package kvm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reasons for the end of Run.
const (
	ExitIO            = 2
	ExitDebug         = 4
	ExitMMIO          = 6
	ExitShutdown      = 8
	ExitFailEntry     = 9
	ExitInterrupted   = 10
	ExitInternalError = 17
	ExitSystemEvent   = 24
)

// Offsets in struct kvm_run.
const (
	runImmediateExit = 1
	runReason        = 8
	runUnion         = 32 // what depends on the reason
	runData          = runUnion + 256
)

// VCPU is a virtual CPU. The thread that made it is the one that uses it; Kick
// is for all.
type VCPU struct {
	fd   int
	run  []byte
	ring []byte // of coalesced writes, shared by all of a machine's CPUs; nil: none
}

// CreateVCPU makes the CPU with the number id, which is also its local APIC's.
func (vm *VM) CreateVCPU(id int) (*VCPU, error) {
	fd, err := ioctl("KVM_CREATE_VCPU", vm.fd, createVCPU, uintptr(id))
	if err != nil {
		return nil, err
	}
	unix.CloseOnExec(fd)
	run, err := unix.Mmap(fd, 0, vm.sys.runSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("mmap", err), unix.Close(fd))
	}
	c := &VCPU{fd: fd, run: run}
	if at := vm.sys.ring; at != 0 {
		c.ring = run[at : at+os.Getpagesize()]
	}
	return c, nil
}

// FD is the CPU's descriptor.
func (c *VCPU) FD() int { return c.fd }

// Close closes what CreateVCPU opened.
func (c *VCPU) Close() error { return errors.Join(unix.Munmap(c.run), unix.Close(c.fd)) }

// Run runs the guest until something is to be done for it, and returns why.
// After IO and MMIO the next Run completes the guest's instruction.
func (c *VCPU) Run() (reason uint32, err error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.fd), Run, 0)
	switch errno {
	case 0:
		return c.word(runReason), nil
	case unix.EINTR, unix.EAGAIN:
		return ExitInterrupted, nil
	}
	return 0, os.NewSyscallError("KVM_RUN", errno)
}

// SetImmediateExit has Run end as soon as it begins, or not any more. With a
// signal to the CPU's thread it ends a Run that goes on.
func (c *VCPU) SetImmediateExit(on bool) {
	// A byte of a word whose first byte is this program's, too, and 0.
	word := (*uint32)(unsafe.Pointer(&c.run[0]))
	v := uint32(0)
	if on {
		v = 1 << (8 * runImmediateExit)
	}
	atomic.StoreUint32(word, v)
}

func (c *VCPU) word(off int) uint32 { return binary.LittleEndian.Uint32(c.run[off:]) }

// IO is a guest's access to an I/O port, Count times Size bytes.
type IO struct {
	Port  uint16
	Write bool
	Size  int
	Data  []byte // what is written, or to be filled in; shared with the guest
}

// IO is the access for which Run returned ExitIO.
func (c *VCPU) IO() (io IO, err error) {
	u := c.run[runUnion:]
	size, count := uint64(u[1]), uint64(binary.LittleEndian.Uint32(u[4:]))
	off := binary.LittleEndian.Uint64(u[8:])
	if n := size * count; size == 0 || n > uint64(len(c.run)) || off > uint64(len(c.run))-n {
		return IO{}, fmt.Errorf("KVM tells of port data at %#x, %d times %d bytes", off, count, size)
	}
	return IO{binary.LittleEndian.Uint16(u[2:]), u[0] == 1, int(size), c.run[off:][:size*count]}, nil
}

// MMIO is a guest's access to an address where it has no memory.
type MMIO struct {
	Addr  uint64
	Write bool
	Data  []byte // what is written, or to be filled in
}

// MMIO is the access for which Run returned ExitMMIO.
func (c *VCPU) MMIO() MMIO {
	u := c.run[runUnion:]
	n := min(binary.LittleEndian.Uint32(u[16:]), 8)
	return MMIO{binary.LittleEndian.Uint64(u), u[20] != 0, u[8 : 8+n]}
}

// Sizes in struct kvm_coalesced_mmio_ring and struct kvm_coalesced_mmio.
const (
	ringEntries   = 8
	ringEntrySize = 24
)

// Coalesced calls write for each write of the guest's that did not end Run. Of
// a machine's CPUs one calls it at a time.
func (c *VCPU) Coalesced(write func(MMIO)) {
	if c.ring == nil {
		return
	}
	first := (*uint32)(unsafe.Pointer(&c.ring[0]))
	last := (*uint32)(unsafe.Pointer(&c.ring[4]))
	slots := uint32(len(c.ring)-ringEntries) / ringEntrySize
	for {
		at, end := atomic.LoadUint32(first), atomic.LoadUint32(last)
		if at == end || at >= slots || end >= slots {
			return
		}
		e := c.ring[ringEntries+at*ringEntrySize:][:ringEntrySize]
		n := min(binary.LittleEndian.Uint32(e[8:]), 8)
		write(MMIO{binary.LittleEndian.Uint64(e), true, e[16 : 16+n]})
		atomic.StoreUint32(first, (at+1)%slots)
	}
}

// InternalError says what happened where Run returned ExitInternalError.
func (c *VCPU) InternalError() string {
	kinds := []string{"", "an instruction that it cannot interpret", "two interrupts at once", "an unexpected event", "an unexpected exit"}
	if k := c.word(runUnion); k < uint32(len(kinds)) && k > 0 {
		return kinds[k]
	}
	return fmt.Sprintf("internal error %d", c.word(runUnion))
}

// SystemEvent is what the guest asked for where Run returned ExitSystemEvent.
func (c *VCPU) SystemEvent() uint32 { return c.word(runUnion) }

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

// Regs are the CPU's general registers.
func (c *VCPU) Regs() (r Regs, err error) {
	_, err = ioctlPointer("KVM_GET_REGS", c.fd, GetRegs, unsafe.Pointer(&r))
	return r, err
}

// SetRegs sets the general registers.
func (c *VCPU) SetRegs(r *Regs) error {
	_, err := ioctlPointer("KVM_SET_REGS", c.fd, setRegs, unsafe.Pointer(r))
	return err
}

// Sregs are the CPU's system registers.
func (c *VCPU) Sregs() (s Sregs, err error) {
	_, err = ioctlPointer("KVM_GET_SREGS", c.fd, GetSregs, unsafe.Pointer(&s))
	return s, err
}

// SetSregs sets the system registers.
func (c *VCPU) SetSregs(s *Sregs) error {
	_, err := ioctlPointer("KVM_SET_SREGS", c.fd, setSregs, unsafe.Pointer(s))
	return err
}

// SetCPUID says what the CPU tells of itself.
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

// MSR is a model-specific register.
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

// SingleStep has Run end with ExitDebug after each instruction of the guest's.
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

// TSCKHz is the frequency of the CPU's time stamp counter in kHz.
func (c *VCPU) TSCKHz() (int, error) { return ioctl("KVM_GET_TSC_KHZ", c.fd, getTSCKHz, 0) }

// Begin has the CPU begin at entry as the PVH boot ABI has it (Xen,
// docs/misc/pvh.pandoc): 32-bit protected mode without paging, flat segments,
// EBX at the start info.
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
