// Package kvm wraps Linux's interface to hardware virtualisation (Linux,
// Documentation/virt/kvm/api.rst; <linux/kvm.h>). It covers what a VMM without legacy
// devices needs. Registers, CPUID and I/O ports are x86's (<asm/kvm.h>). The package
// knows nothing about the guest. Names are KVM's, and errors name the request that failed.
package kvm

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device is KVM's device file.
const Device = "/dev/kvm"

// apiVersion is the only version of the interface so far.
const apiVersion = 12

// Requests of the descriptors of the system, of a VM and of a vCPU.
const (
	getAPIVersion   = 0xae00
	createVM        = 0xae01
	checkExtension  = 0xae03
	getVCPUMmapSize = 0xae04

	createVCPU          = 0xae41
	setUserMemoryRegion = 0x4020ae46
	registerCoalesced   = 0x4010ae67
	SetGSIRouting       = 0x4008ae6a
	AssignIRQFD         = 0x4020ae76
	assignIOEventFD     = 0x4040ae79
	enableCap           = 0x4068aea3

	Run = 0xae80
)

// Capabilities.
const (
	capCoalescedMMIO = 15
	capImmediateExit = 136
)

// capability is an extension of KVM's interface.
type capability struct {
	id   uintptr
	name string
}

// System is /dev/kvm.
type System struct {
	fd      int
	runSize int // bytes of memory that KVM shares for a vCPU
	ring    int // offset in that memory of the ring of coalesced writes; 0: no ring
}

// Open opens /dev/kvm.
func Open() (*os.File, error) { return open(Device) }

func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	return f, explain(err)
}

// explain adds a remedy to an error of opening /dev/kvm.
func explain(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: add yourself to the group kvm", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: load the module kvm_intel or kvm_amd, on a CPU with virtualisation switched on", err)
	}
	return err
}

// New returns the system of an open /dev/kvm. It fails if KVM lacks a capability that
// Pith needs.
func New(fd int) (*System, error) {
	v, err := ioctl("KVM_GET_API_VERSION", fd, getAPIVersion, 0)
	if err != nil {
		return nil, err
	}
	if v != apiVersion {
		return nil, fmt.Errorf("KVM has version %d of its interface, not %d", v, apiVersion)
	}
	s := &System{fd: fd}
	for _, c := range needed {
		n, err := ioctl("KVM_CHECK_EXTENSION", fd, checkExtension, c.id)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, fmt.Errorf("KVM lacks %s, which Linux has since 4.12: use a newer kernel", c.name)
		}
	}
	page, err := ioctl("KVM_CHECK_EXTENSION", fd, checkExtension, capCoalescedMMIO)
	if err != nil {
		return nil, err
	}
	s.ring = page * os.Getpagesize()
	if s.runSize, err = ioctl("KVM_GET_VCPU_MMAP_SIZE", fd, getVCPUMmapSize, 0); err != nil {
		return nil, err
	}
	if s.runSize < runData || s.ring != 0 && s.ring+os.Getpagesize() > s.runSize {
		return nil, fmt.Errorf("KVM shares only %d bytes for a vCPU, fewer than Pith needs", s.runSize)
	}
	return s, nil
}

// ioctl is ioctl(2) with a number as argument. name is the request's name, for errors. It
// repeats a request that a signal interrupts: the Go runtime preempts by signals, and
// requests such as KVM_CREATE_VM take long.
func ioctl(name string, fd int, request, arg uintptr) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError(name, errno)
		}
	}
}

// ioctlPointer is ioctl with memory as argument.
func ioctlPointer(name string, fd int, request uintptr, arg unsafe.Pointer) (int, error) {
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		switch errno {
		case 0:
			return int(r), nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError(name, errno)
		}
	}
}
