package kvm

import (
	"math/bits"

	"github.com/pith-os/pith/internal/kvm"
)

// Leaves of CPUID (Intel SDM 2A), and KVM's own leaves (Linux,
// Documentation/virt/kvm/x86/cpuid.rst).
const (
	leafFeatures  = 1
	leafCache     = 4
	leafTopology  = 0xb
	leafTopology2 = 0x1f
	leafName      = 0x80000002 // and the two after it: the processor's name
	leafKVM       = 0x40000000
	leafTiming    = 0x40000010 // EAX: the TSC's frequency, EBX: the APIC timer's, both in kHz

	// Pith's own leaves. The first one has the last leaf's number in EAX and
	// "PithPithPith" in the other registers. The next one has the VM's properties.
	leafPith    = 0x40000100
	leafMachine = 0x40000101
	signature   = 0x68746950
	// memoryZeroed means that all memory was zero before the monitor wrote the start
	// information. The image does not have to clear it.
	memoryZeroed = 1 << 0

	apicTimerKHz = 1000000 // a constant of KVM

	htt         = 1 << 28 // leaf 1, EDX: the package may have several CPUs
	tscDeadline = 1 << 24 // leaf 1, ECX
	hypervisor  = 1 << 31
)

// cpuid returns the CPUID entries of vCPU id of n. They are the host's entries with the VM's
// topology and frequencies. All vCPUs are cores of one package.
func cpuid(host []kvm.CPUID, id, n, tscKHz int) []kvm.CPUID {
	shift := bits.Len(uint(n - 1)) // number of bits in an APIC id that number the cores
	var out []kvm.CPUID
	for _, e := range host {
		switch e.Function {
		case leafFeatures:
			e.EBX = e.EBX&0xffff | uint32(id)<<24 | uint32(min(1<<shift, 255))<<16
			e.ECX |= hypervisor | tscDeadline
			e.EDX &^= htt
			if n > 1 {
				e.EDX |= htt
			}
		case leafCache:
			e.EAX = e.EAX&^(0x3f<<26|0xfff<<14) | (1<<shift-1)<<26
		case leafTopology, leafTopology2, leafName, leafName + 1, leafName + 2:
			continue // below
		case leafKVM:
			e.EAX = leafTiming
		}
		out = append(out, e)
	}
	for leaf := uint32(leafName); leaf < leafName+3; leaf++ {
		out = append(out, kvm.HostCPUID(leaf))
	}
	const bySubleaf = 1 // KVM_CPUID_FLAG_SIGNIFCANT_INDEX
	const smt, core = 1 << 8, 2 << 8
	return append(out,
		kvm.CPUID{Function: leafTopology, Index: 0, Flags: bySubleaf, EBX: 1, ECX: smt, EDX: uint32(id)},
		kvm.CPUID{Function: leafTopology, Index: 1, Flags: bySubleaf, EAX: uint32(shift), EBX: uint32(n), ECX: 1 | core, EDX: uint32(id)},
		kvm.CPUID{Function: leafTopology, Index: 2, Flags: bySubleaf, ECX: 2, EDX: uint32(id)},
		kvm.CPUID{Function: leafTiming, EAX: uint32(tscKHz), EBX: apicTimerKHz},
		kvm.CPUID{Function: leafPith, EAX: leafMachine, EBX: signature, ECX: signature, EDX: signature},
		kvm.CPUID{Function: leafMachine, EAX: memoryZeroed},
	)
}
