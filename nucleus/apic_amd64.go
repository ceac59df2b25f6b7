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
	c.id = n.apicRead(apicID)
	if !n.apicMSR {
		c.id >>= 24
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

// interrupt interrupts CPU o.
//
//go:nosplit
func (n *nucleus) interrupt(o *cpuState) { n.apicSend(o.id, vectorIPI) }
