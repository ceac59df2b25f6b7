//go:build pith

package runtime

// measure finds the frequency of the TSC by the APIC's timer, which counts
// nanoseconds under KVM and QEMU. It takes a millisecond and is for machines
// that do not say it.
//
//go:nosplit
func (n *nucleus) measure() {
	n.tscKHz = hypervisorTSC()
	if n.tscKHz == 0 {
		n.compare()
	}
	n.sharedPage().khz = n.tscKHz
	if hypervisor(signatureTCG) {
		n.flushticks = n.tscKHz * 20
	}
}

// compare is measure's comparison.
//
//go:nosplit
func (n *nucleus) compare() {
	n.apicWrite(apicTimer, apicMasked|vectorTimer)
	n.apicWrite(apicCount, 0xffffffff)
	first, at := n.sample()
	for {
		last, end := n.sample()
		if ns := uintptr(first - last); ns >= 1000000 {
			n.tscKHz = (end - at) * 1000000 / ns
			break
		}
	}
	n.apicWrite(apicCount, 0)
	n.timerOn()
}

// sample reads the timer and the TSC at the same time: the shortest of some
// tries.
//
//go:nosplit
func (n *nucleus) sample() (count uint32, tsc uintptr) {
	best := ^uintptr(0)
	for range 4 {
		t0 := nucleusrdtsc()
		v := n.apicRead(apicCurrent)
		t1 := nucleusrdtsc()
		if t1-t0 < best {
			best, count, tsc = t1-t0, v, t0+(t1-t0)/2
		}
	}
	return count, tsc
}

// signatureTCG begins the name that QEMU's translator has in CPUID.
const signatureTCG = 0x54474354 // "TCGT"

// hypervisor reports whether the hypervisor's name begins with name.
//
//go:nosplit
func hypervisor(name uint32) bool {
	_, b, _, _ := nucleuscpuid(0x40000000, 0)
	return b == name
}

// hypervisorTSC is the TSC's frequency in kHz, where the CPU says it: in leaf
// 0x40000010, which VMware defined and KVM has, or leaf 0x15.
//
//go:nosplit
func hypervisorTSC() uintptr {
	_, _, c, _ := nucleuscpuid(1, 0)
	if c>>31 != 0 {
		if most, _, _, _ := nucleuscpuid(0x40000000, 0); most >= 0x40000010 && most < 0x40000100 {
			if khz, _, _, _ := nucleuscpuid(0x40000010, 0); khz != 0 {
				return uintptr(khz)
			}
		}
	}
	if most, _, _, _ := nucleuscpuid(0, 0); most >= 0x15 {
		if d, m, hz, _ := nucleuscpuid(0x15, 0); d != 0 && m != 0 && hz != 0 {
			return uintptr(hz) * uintptr(m) / uintptr(d) / 1000
		}
	}
	return 0
}

// nucleusspin waits for ticks of the TSC.
//
//go:nosplit
func nucleusspin(ticks uintptr) {
	for from := nucleusrdtsc(); nucleusrdtsc()-from < ticks; {
		nucleusrelax()
	}
}
