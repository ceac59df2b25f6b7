//go:build pith

package runtime

// vmSeed returns a number that differs from boot to boot, for the runtime's hash
// functions and the like. Numbers that nobody may guess come from package entropy.
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

// vmInterpreted reports whether the host interprets the nucleus, which makes nucleus
// calls slow (see notRaised).
//
//go:nosplit
func vmInterpreted() bool { return vmSharedPage().faultgate }
