package kvm

import (
	"math/bits"

	"github.com/pith-os/pith/internal/kvm"
)

// Leaves of CPUID (Intel SDM 2A), and KVM's (Linux,
// Documentation/virt/kvm/x86/cpuid.rst).
const (
	leafFeatures  = 1
	leafCache     = 4
	leafTopology  = 0xb
	leafTopology2 = 0x1f
	leafName      = 0x80000002 // and the two after it: the processor's name
	leafKVM       = 0x40000000
	leafTiming    = 0x40000010 // EAX: the TSC's frequency, EBX: the APIC timer's, both in kHz

	// Ours: which they are in EAX, "PithPithPith" in the others; then what the
	// machine has.
	leafPith    = 0x40000100
	leafMachine = 0x40000101
	signature   = 0x68746950
	// memoryZeroed is that memory was zero before the start was written, so
	// that the image need not make it so.
	memoryZeroed = 1 << 0

	apicTimerKHz = 1000000 // KVM's

	htt         = 1 << 28 // leaf 1, EDX: there may be more than one
	tscDeadline = 1 << 24 // leaf 1, ECX
	hypervisor  = 1 << 31
)

// cpuid is what CPU number id of n tells of itself: what the host has, with this
// machine's topology (all CPUs cores of one package) and frequencies.
func cpuid(host []kvm.CPUID, id, n, tscKHz int) []kvm.CPUID {
	shift := bits.Len(uint(n - 1)) // bits of an APIC's number that tell cores apart
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
