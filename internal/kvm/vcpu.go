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

// Reasons for Run to return.
const (
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
	runUnion         = 32 // depends on the reason
	runData          = runUnion + 256
)

// VCPU is a vCPU. Only the thread that made it may use it, except for SetImmediateExit.
type VCPU struct {
	fd   int
	run  []byte
	ring []byte // of coalesced writes, shared by all of the VM's vCPUs; nil: none
}

// CreateVCPU makes the vCPU with the number id, which is its local APIC's id too.
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

// FD returns the vCPU's descriptor.
func (c *VCPU) FD() int { return c.fd }

// Close closes what CreateVCPU opened.
func (c *VCPU) Close() error { return errors.Join(unix.Munmap(c.run), unix.Close(c.fd)) }

// Run runs the guest until an exit, and returns the reason. After ExitIO and ExitMMIO the
// next Run completes the guest's instruction.
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

// SetImmediateExit switches on or off that Run returns as soon as it begins. Together with
// a signal to the vCPU's thread it ends a Run that has begun.
func (c *VCPU) SetImmediateExit(on bool) {
	// The byte is part of a word. The word's first byte is this program's too, and 0.
	word := (*uint32)(unsafe.Pointer(&c.run[0]))
	v := uint32(0)
	if on {
		v = 1 << (8 * runImmediateExit)
	}
	atomic.StoreUint32(word, v)
}

func (c *VCPU) word(off int) uint32 { return binary.LittleEndian.Uint32(c.run[off:]) }

// MMIO is the guest's access to a guest-physical address without memory.
type MMIO struct {
	Addr  uint64
	Write bool
	Data  []byte // the written bytes, or the place for those to be read
}

// MMIO returns the access for which Run returned ExitMMIO.
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

// Coalesced calls write for each write of the guest that caused no exit. Only one of the
// VM's vCPUs may call it at a time.
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

// InternalError describes why Run returned ExitInternalError.
func (c *VCPU) InternalError() string {
	kinds := []string{"", "an instruction that it cannot interpret", "two interrupts at once", "an unexpected event", "an unexpected exit"}
	if k := c.word(runUnion); k < uint32(len(kinds)) && k > 0 {
		return kinds[k]
	}
	return fmt.Sprintf("internal error %d", c.word(runUnion))
}

// SystemEvent returns what the guest asked for when Run returned ExitSystemEvent.
func (c *VCPU) SystemEvent() uint32 { return c.word(runUnion) }
