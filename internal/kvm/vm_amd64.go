package kvm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of a virtual machine's descriptor.
const (
	setTSSAddr         = 0xae47
	setIdentityMapAddr = 0x4008ae48
)

const capSplitIRQChip = 121

// needed is the capabilities that New requires.
var needed = []capability{{capSplitIRQChip, "KVM_CAP_SPLIT_IRQCHIP"}, {capImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"}}

// legacyPages is the guest-physical address of four pages outside of the guest's memory.
// KVM uses them on CPUs that cannot run real mode.
const legacyPages = 0xfeffc000

// setUp makes the local APICs.
func (vm *VM) setUp() error {
	unix.CloseOnExec(vm.fd)
	if _, err := ioctl("KVM_SET_TSS_ADDR", vm.fd, setTSSAddr, legacyPages+4096); err != nil {
		return err
	}
	identity := uint64(legacyPages)
	if _, err := ioctlPointer("KVM_SET_IDENTITY_MAP_ADDR", vm.fd, setIdentityMapAddr, unsafe.Pointer(&identity)); err != nil {
		return err
	}
	split := enabledCapability{capability: capSplitIRQChip}
	_, err := ioctlPointer("KVM_ENABLE_CAP", vm.fd, enableCap, unsafe.Pointer(&split))
	return err
}
