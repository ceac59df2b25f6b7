package kvm

import "unsafe"

// getSupportedCPUID is a request of the system's descriptor.
const getSupportedCPUID = 0xc008ae05

// CPUID is an entry of CPUID: struct kvm_cpuid_entry2.
type CPUID struct {
	Function, Index, Flags uint32
	EAX, EBX, ECX, EDX     uint32
	_                      [3]uint32
}

const maxCPUID = 256

// cpuidTable is struct kvm_cpuid2.
type cpuidTable struct {
	n, _    uint32
	entries [maxCPUID]CPUID
}

// SupportedCPUID returns the entries that the host's CPU and KVM support.
func (s *System) SupportedCPUID() ([]CPUID, error) {
	t := cpuidTable{n: maxCPUID}
	if _, err := ioctlPointer("KVM_GET_SUPPORTED_CPUID", s.fd, getSupportedCPUID, unsafe.Pointer(&t)); err != nil {
		return nil, err
	}
	return t.entries[:t.n], nil
}

// HostCPUID returns an entry of the host's CPU itself. SupportedCPUID leaves out some that
// a VM can do without.
func HostCPUID(function uint32) CPUID {
	e := CPUID{Function: function}
	e.EAX, e.EBX, e.ECX, e.EDX = cpuid(function)
	return e
}

func cpuid(leaf uint32) (a, b, c, d uint32)
