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
