//go:build pith

package runtime

// vmCountCPUs is the number of logical processors that CPUID tells of.
//
//go:nosplit
func vmCountCPUs() uintptr {
	_, b, _, d := vmcpuid(1, 0)
	if d>>28&1 == 0 {
		return 1
	}
	return max(uintptr(b>>16&0xff), 1)
}

// vmSeed gives the runtime's hash functions and such something that differs from
// boot to boot. What must not be guessed comes from package entropy.
//
//go:nosplit
func vmSeed() uintptr {
	_, _, c, _ := vmcpuid(1, 0)
	if c>>30&1 != 0 {
		if v, ok := vmrdrand(); ok {
			return v
		}
	}
	x := vmcounter() + uintptr(vmclock.wall)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// vmInterpreted reports whether the host interprets the nucleus, whose calls take
// long then (see notRaised).
//
//go:nosplit
func vmInterpreted() bool { return vmSharedPage().faultgate }
