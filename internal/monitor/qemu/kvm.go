package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// The part of KVM's interface that a trial needs (Linux,
// Documentation/virt/kvm/api.rst; <linux/kvm.h>, <asm/kvm.h> of x86).
const (
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmRun                 = 0xae80
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	kvmExitIO            = 2
	kvmExitInternalError = 17

	// Offsets in struct kvm_run.
	runExitReason = 8
	runIOPort     = 34
)

// kvmRegion is struct kvm_userspace_memory_region.
type kvmRegion struct {
	slot, flags            uint32
	guest, size, userspace uint64
}

// kvmRegs is struct kvm_regs.
type kvmRegs struct {
	general     [16]uint64
	rip, rflags uint64
}

// kvmSegment is struct kvm_segment.
type kvmSegment struct {
	base                                          uint64
	limit                                         uint32
	selector                                      uint16
	typ, present, dpl, db, s, l, g, avl, unusable uint8
	_                                             uint8
}

// kvmSregs is struct kvm_sregs.
type kvmSregs struct {
	cs, ds, es, fs, gs, ss, tr, ldt kvmSegment
	gdt, idt                        [2]uint64
	cr0, cr2, cr3, cr4, cr8         uint64
	efer, apicBase                  uint64
	interrupts                      [4]uint64
}

// kvmTimeout is far more than a trial takes.
const kvmTimeout = 2 * time.Second

// tryKVM has KVM run privileged code with a vector instruction, in a virtual
// machine of its own: QEMU would take far longer to find out the same. That the
// device opens says little. On a host that is a virtual machine itself,
// privileged code may be interpreted, and not all of it.
func tryKVM(ctx context.Context) error {
	const device = "/dev/kvm"
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.EACCES) {
			err = fmt.Errorf("%w: add yourself to the group kvm", err)
		}
		return &os.PathError{Op: "open", Path: device, Err: err}
	}
	var trial tinyelf.Machine
	trial.EnableVector()
	trial.Out(boot.DebugExit, "\x00")
	trial.Halt()
	ended := make(chan error, 1)
	go func() {
		defer unix.Close(fd)
		ended <- runKVM(fd, trial.Code())
	}()
	ctx, cancel := context.WithTimeout(ctx, kvmTimeout)
	defer cancel()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("KVM does not run a trial: %w", err)
	}
	return nil
}

// runKVM runs code until it writes to boot.DebugExit.
func runKVM(kvm int, code []byte) error {
	runtime.LockOSThread() // which a virtual CPU is bound to
	defer runtime.UnlockOSThread()
	vm, err := ioctl("KVM_CREATE_VM", kvm, kvmCreateVM, nil)
	if err != nil {
		return err
	}
	defer unix.Close(vm)
	memory, err := unix.Mmap(-1, 0, (len(code)+4095)&^4095, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(memory)
	copy(memory, code)
	region := kvmRegion{guest: tinyelf.MachineAddr, size: uint64(len(memory)), userspace: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))}
	if _, err := ioctl("KVM_SET_USER_MEMORY_REGION", vm, kvmSetUserMemoryRegion, unsafe.Pointer(&region)); err != nil {
		return err
	}
	size, err := ioctl("KVM_GET_VCPU_MMAP_SIZE", kvm, kvmGetVCPUMmapSize, nil)
	if err != nil {
		return err
	}
	cpu, err := ioctl("KVM_CREATE_VCPU", vm, kvmCreateVCPU, nil)
	if err != nil {
		return err
	}
	defer unix.Close(cpu)
	run, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(run)
	if err := flat(cpu); err != nil {
		return err
	}
	for {
		_, err := ioctl("KVM_RUN", cpu, kvmRun, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		reason := binary.LittleEndian.Uint32(run[runExitReason:])
		if reason == kvmExitInternalError {
			return errors.New("it cannot interpret an instruction")
		}
		if port := binary.LittleEndian.Uint16(run[runIOPort:]); reason != kvmExitIO || port != boot.DebugExit {
			return fmt.Errorf("it stopped with exit reason %d", reason)
		}
		return nil
	}
}

// flat has the CPU begin as the PVH boot ABI has it: 32-bit protected mode, flat
// segments.
func flat(cpu int) error {
	var s kvmSregs
	if _, err := ioctl("KVM_GET_SREGS", cpu, kvmGetSregs, unsafe.Pointer(&s)); err != nil {
		return err
	}
	data := kvmSegment{limit: 0xffffffff, selector: 16, typ: 3, present: 1, db: 1, s: 1, g: 1}
	s.cs, s.ds, s.es, s.ss = data, data, data, data
	s.cs.selector, s.cs.typ = 8, 11
	s.cr0 |= 1 // CR0.PE
	if _, err := ioctl("KVM_SET_SREGS", cpu, kvmSetSregs, unsafe.Pointer(&s)); err != nil {
		return err
	}
	r := kvmRegs{rip: tinyelf.MachineAddr, rflags: 2}
	_, err := ioctl("KVM_SET_REGS", cpu, kvmSetRegs, unsafe.Pointer(&r))
	return err
}

// ioctl is ioctl(2); name is the request's.
func ioctl(name string, fd int, request uintptr, arg unsafe.Pointer) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return 0, os.NewSyscallError(name, errno)
	}
	return int(r), nil
}
