package kvm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// VM is a virtual machine. The kernel frees it when its own descriptor and the descriptors
// of its vCPUs are closed.
type VM struct {
	fd  int
	sys *System
}

// CreateVM makes a VM. The kernel emulates the vCPUs' local interrupt controllers. The VM
// has no other interrupt controller, so all interrupts are messages.
func (s *System) CreateVM() (*VM, error) {
	fd, err := ioctl("KVM_CREATE_VM", s.fd, createVM, 0)
	if err != nil {
		return nil, err
	}
	vm := &VM{fd, s}
	if err := vm.setUp(); err != nil {
		_ = unix.Close(fd) // the caller gets the first error
		return nil, err
	}
	return vm, nil
}

// enabledCapability is struct kvm_enable_cap.
type enabledCapability struct {
	capability, flags uint32
	args              [4]uint64
	_                 [64]byte
}

// FD returns the VM's descriptor.
func (vm *VM) FD() int { return vm.fd }

// Close closes the VM's own descriptor.
func (vm *VM) Close() error { return unix.Close(vm.fd) }

// SetMemory maps mem into the guest at the guest-physical address guest. Both addresses
// and the length must be multiples of the page size. mem must stay mapped while the VM
// exists.
func (vm *VM) SetMemory(slot int, guest uint64, mem []byte) error {
	region := memoryRegion{uint32(slot), 0, guest, uint64(len(mem)), uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))}
	_, err := ioctlPointer("KVM_SET_USER_MEMORY_REGION", vm.fd, setUserMemoryRegion, unsafe.Pointer(&region))
	return err
}

// memoryRegion is struct kvm_userspace_memory_region.
type memoryRegion struct {
	slot, flags            uint32
	guest, size, userspace uint64
}

// Notify makes a 32-bit write of value to the guest-physical address addr signal the
// eventfd fd, without an exit.
func (vm *VM) Notify(fd int, addr uint64, value uint32) error {
	event := ioEvent{uint64(value), addr, 4, int32(fd), 1, [36]byte{}}
	_, err := ioctlPointer("KVM_IOEVENTFD", vm.fd, assignIOEventFD, unsafe.Pointer(&event))
	return err
}

// ioEvent is struct kvm_ioeventfd.
type ioEvent struct {
	datamatch, addr uint64
	length          uint32
	fd              int32
	flags           uint32
	_               [36]byte
}

// Interrupt makes the eventfd fd raise the interrupt of route gsi.
func (vm *VM) Interrupt(fd int, gsi uint32) error {
	irq := irqEvent{fd: uint32(fd), gsi: gsi}
	_, err := ioctlPointer("KVM_IRQFD", vm.fd, AssignIRQFD, unsafe.Pointer(&irq))
	return err
}

// irqEvent is struct kvm_irqfd.
type irqEvent struct {
	fd, gsi, flags, resample uint32
	_                        [16]byte
}

// Message is a message-signalled interrupt. The zero value means no interrupt.
type Message struct {
	Addr uint64
	Data uint32
}

// MaxRoutes is the maximum number of interrupts of a VM.
const MaxRoutes = 256

// SetRoutes replaces all routes: route i sends the message routes[i].
func (vm *VM) SetRoutes(routes []Message) error {
	const routeMSI = 2
	var table routeTable
	for i, r := range routes {
		if r == (Message{}) {
			continue
		}
		e := &table.entries[table.n]
		e.gsi, e.kind = uint32(i), routeMSI
		e.low, e.high, e.data = uint32(r.Addr), uint32(r.Addr>>32), r.Data
		table.n++
	}
	_, err := ioctlPointer("KVM_SET_GSI_ROUTING", vm.fd, SetGSIRouting, unsafe.Pointer(&table))
	return err
}

// routeTable is struct kvm_irq_routing.
type routeTable struct {
	n, flags uint32
	entries  [MaxRoutes]route
}

// route is struct kvm_irq_routing_entry with struct kvm_irq_routing_msi.
type route struct {
	gsi, kind, flags, _ uint32
	low, high, data     uint32
	_                   [5]uint32
}

// Coalesce makes KVM collect the guest's writes to the guest-physical addresses [addr,
// addr+size) without exits, if it can. After the next exit, VCPU.Coalesced returns them in
// order.
func (vm *VM) Coalesce(addr uint64, size uint32) error {
	if vm.sys.ring == 0 {
		return nil
	}
	zone := coalescedZone{addr: addr, size: size}
	_, err := ioctlPointer("KVM_REGISTER_COALESCED_MMIO", vm.fd, registerCoalesced, unsafe.Pointer(&zone))
	return err
}

// coalescedZone is struct kvm_coalesced_mmio_zone.
type coalescedZone struct {
	addr    uint64
	size, _ uint32
}
