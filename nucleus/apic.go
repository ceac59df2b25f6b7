//go:build pith

package runtime

import "unsafe"

// The local APIC (SDM 3A §10.4, §10.12), by MSR where the CPU can, else in
// memory.
const (
	apicID       = 0x20
	apicEOI      = 0xb0
	apicSpurious = 0xf0
	apicCommand  = 0x300
	apicCommand2 = 0x310
	apicTimer    = 0x320
	apicCount    = 0x380
	apicCurrent  = 0x390
	apicDivide   = 0x3e0

	msrAPICBase = 0x1b
	msrAPIC     = 0x800
	msrDeadline = 0x6e0

	apicDivideBy1    = 0xb
	apicTimerOneShot = 0
	apicTimerTSC     = 2 << 17
	apicMasked       = 1 << 16
)

// apicFind maps the registers, which it has not been asked for by MSR.
//
//go:nosplit
func (n *nucleus) apicFind(b *bootMemory, root uintptr) {
	if !n.apicMSR {
		b.put(root, nucleusAPIC, nucleusrdmsr(msrAPICBase)&pteFrame, pteWrite|pteNX|pteNoCache, 1)
	}
}

//go:nosplit
func (n *nucleus) apicRead(reg uintptr) uint32 {
	if n.apicMSR {
		return uint32(nucleusrdmsr(msrAPIC + reg>>4))
	}
	return *(*uint32)(unsafe.Pointer(nucleusAPIC + reg))
}

//go:nosplit
func (n *nucleus) apicWrite(reg, v uintptr) {
	if n.apicMSR {
		nucleuswrmsr(msrAPIC+reg>>4, v)
		return
	}
	*(*uint32)(unsafe.Pointer(nucleusAPIC + reg)) = uint32(v)
}

// apicSend writes the interrupt command for the APIC id.
//
//go:nosplit
func (n *nucleus) apicSend(id uint32, command uintptr) {
	if n.apicMSR {
		nucleuswrmsr(msrAPIC+apicCommand>>4, uintptr(id)<<32|command)
		return
	}
	n.apicWrite(apicCommand2, uintptr(id)<<24)
	n.apicWrite(apicCommand, command)
	for n.apicRead(apicCommand)&(1<<12) != 0 {
		nucleusrelax()
	}
}

// apicStart enables the APIC of this CPU and its timer.
//
//go:nosplit
func (n *nucleus) apicStart(c *cpuState) {
	base := nucleusrdmsr(msrAPICBase) | 1<<11
	if n.apicMSR {
		base |= 1 << 10
	}
	nucleuswrmsr(msrAPICBase, base)
	c.apic = n.apicRead(apicID)
	if !n.apicMSR {
		c.apic >>= 24
	}
	n.apicWrite(apicSpurious, 1<<8|vectorSpurious)
	n.apicWrite(apicDivide, apicDivideBy1)
	n.timerOn()
}

// timerOn has the timer interrupt, once each time that it is set.
//
//go:nosplit
func (n *nucleus) timerOn() {
	mode := uintptr(apicTimerOneShot)
	if n.deadline {
		mode = apicTimerTSC
	}
	n.apicWrite(apicTimer, mode|vectorTimer)
}

//go:nosplit
func (n *nucleus) sharedPage() *vmShared { return (*vmShared)(unsafe.Pointer(n.shared)) }

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
	n.sharedPage().tscKHz = n.tscKHz
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
	_, _, c, _ := nucleuscpuid(1, 0)
	_, b, _, _ := nucleuscpuid(0x40000000, 0)
	return c>>31 != 0 && b == name
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

// startCPU starts the CPU with the APIC's id, whose state is at at. It comes in
// its own time, by the trampoline.
//
//go:nosplit
func (n *nucleus) startCPU(at uintptr, id uint32) {
	const initAssert, startup = 0x4500, 0x4600
	n.starting = at
	n.apicSend(id, initAssert)
	nucleusspin(n.tscKHz / 100) // 10 us; a virtual CPU needs no 10 ms
	n.apicSend(id, startup|trampoline>>12)
}

//go:nosplit
func nucleusload32(p *uint32) uint32 { return *(*uint32)(unsafe.Pointer(p)) }

// nucleusspin waits for ticks of the TSC.
//
//go:nosplit
func nucleusspin(ticks uintptr) {
	for from := nucleusrdtsc(); nucleusrdtsc()-from < ticks; {
		nucleusrelax()
	}
}

// flushOthers has every other CPU flush its TLB, and waits until they have.
// Those that are idle do it before they touch anything.
//
//go:nosplit
func (n *nucleus) flushOthers(c *cpuState) {
	for i := range n.ncpus {
		o := n.cpu(i)
		if o == c || nucleusload32(&o.running) == 0 {
			continue
		}
		nucleusxchg(uintptr(unsafe.Pointer(&o.stale)), 1)
		if nucleusload32(&o.idle) == 0 {
			n.apicSend(o.apic, vectorFlush)
		}
	}
	for i := range n.ncpus {
		o := n.cpu(i)
		for o != c && nucleusload32(&o.running) != 0 && nucleusload32(&o.idle) == 0 && nucleusload32(&o.stale) != 0 {
			nucleusrelax()
		}
	}
}

//go:nosplit
func (n *nucleus) cpu(i uintptr) *cpuState {
	return (*cpuState)(unsafe.Pointer(load64(uintptr(unsafe.Pointer(&n.cpus)) + i*8)))
}

// obey flushes this CPU's TLB if another one asks for it.
//
//go:nosplit
func (n *nucleus) obey(c *cpuState) {
	if nucleusload32(&c.stale) != 0 {
		nucleusxchg(uintptr(unsafe.Pointer(&c.stale)), 0)
		nucleusflushall()
	}
}
