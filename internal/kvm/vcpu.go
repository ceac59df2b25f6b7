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
	ring []byte // ring of coalesced writes, shared by all of the VM's vCPUs; nil: no ring
}

// CreateVCPU makes the vCPU with the number id. Its local APIC has the same id.
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

// Close releases the vCPU's descriptor and the memory that it shares with KVM.
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

// SetImmediateExit selects whether Run returns immediately, without running the guest.
// To stop a call of Run that has begun, also send a signal to the vCPU's thread.
func (c *VCPU) SetImmediateExit(on bool) {
	// There is no atomic store of a byte, so this stores the 32 bits around it. Their
	// first byte also belongs to this program and is 0.
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
	Data  []byte // the bytes that the guest writes, or the buffer for the bytes that it reads
}

// MMIO returns the access that caused ExitMMIO.
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

// SystemEvent returns the type of the event that caused ExitSystemEvent.
func (c *VCPU) SystemEvent() uint32 { return c.word(runUnion) }
