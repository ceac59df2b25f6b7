//go:build pith

package runtime

import "unsafe"

// Feature bits (SDM 2A, CPUID).
const (
	cpuidX2APIC   = 1 << 21 // leaf 1, ECX
	cpuidDeadline = 1 << 24
	cpuidXSAVE    = 1 << 26
	cpuidHTT      = 1 << 28 // leaf 1, EDX
	cpuidFSGSBASE = 1 << 0  // leaf 7, EBX
	cpuidSMEP     = 1 << 7
	cpuidSMAP     = 1 << 20
	cpuidUMIP     = 1 << 2  // leaf 7, ECX
	cpuidNX       = 1 << 20 // leaf 0x80000001, EDX
	cpuidSYSCALL  = 1 << 11
	cpuidLM       = 1 << 29
	// FPU, TSC, MSR, PAE, CX8, APIC, PGE, CMOV, FXSR, SSE, SSE2.
	cpuidNeeds = 1<<0 | 1<<4 | 1<<5 | 1<<6 | 1<<8 | 1<<9 | 1<<13 | 1<<15 | 1<<24 | 1<<25 | 1<<26
	// xcr0 is the state that XSAVE may save: x87, SSE, AVX, AVX-512.
	xcr0Wanted = 0xe7
)

// nucleusNeeds ends the VM if its CPU lacks a feature that images need. Long mode was
// checked before.
//
//go:nosplit
func nucleusNeeds() {
	_, _, _, d := nucleuscpuid(1, 0)
	_, _, _, e := nucleuscpuid(0x80000001, 0)
	if d&cpuidNeeds != cpuidNeeds || e&(cpuidNX|cpuidSYSCALL) != cpuidNX|cpuidSYSCALL {
		nucleusDie(dieCPU)
	}
}

// features finds the CPU's optional features, and how many CPUs there are. CPUID at
// CPL 3 may have the host's answers where the host interprets CPL 0.
//
//go:nosplit
func (n *nucleus) features(s *vmShared) {
	most, _, _, _ := nucleuscpuid(0, 0)
	_, b, c, d := nucleuscpuid(1, 0)
	s.cpus = 1
	if d&cpuidHTT != 0 {
		s.cpus = max(uintptr(b>>16&0xff), 1)
	}
	n.cr4 = cr4PAE | cr4PGE | cr4FXSR | cr4XMM
	n.apicMSR = c&cpuidX2APIC != 0
	n.deadline = c&cpuidDeadline != 0
	if most >= 7 {
		_, b7, c7, _ := nucleuscpuid(7, 0)
		if b7&cpuidFSGSBASE != 0 {
			n.cr4 |= cr4FSGS
			s.fsgsbase = true
		}
		if b7&cpuidSMEP != 0 {
			n.cr4 |= cr4SMEP
		}
		if b7&cpuidSMAP != 0 {
			n.cr4 |= cr4SMAP
		}
		if c7&cpuidUMIP != 0 {
			n.cr4 |= cr4UMIP
		}
	}
	if c&cpuidXSAVE != 0 && most >= 13 {
		a, _, _, _ := nucleuscpuid(13, 0)
		n.cr4 |= cr4XSAVE
		n.xcr0 = uintptr(a) & xcr0Wanted
		if n.xcr0&0xe0 != 0xe0 {
			n.xcr0 &= 7
		}
		s.xcr0 = n.xcr0
	}
}

// cpu makes the region and the block of CPU number from memory of b, and returns the
// region's address.
//
//go:nosplit
func (b *bootMemory) cpu(n *nucleus, number uintptr) uintptr {
	at := nucleusCPUs + number*cpuStride
	state := b.page()
	b.put(n.root, at, state, pteWrite|pteNX, 1)
	b.pages(n.root, at+cpuStackLow, at+cpuStackTop, pteWrite|pteNX)
	b.pages(n.root, at+cpuFaultLow, at+cpuFaultTop, pteWrite|pteNX)
	block := b.page()
	user := userCPUs + number*userStride
	b.put(n.root, user, block, pteUser|pteWrite|pteNX|pteFixed, 1)
	b.pages(n.root, user+userStackLow, user+userStackTop, pteUser|pteWrite|pteNX|pteFixed)

	c := (*cpuState)(unsafe.Pointer(b.base + state))
	c.number = number
	c.stack = at + cpuStackTop - spill
	c.userstack = user + userStackTop - spill
	c.block = nucleusDirect + block
	k := (*cpuBlock)(unsafe.Pointer(b.base + block))
	k.self, k.stack, k.number, k.masked = user, c.userstack, uint32(number), 1

	tss := at + cpuTSS
	g := uintptr(unsafe.Pointer(&c.gdt))
	store64(g+selCode0, gdtCode0)
	store64(g+selData0, gdtData0)
	store64(g+selData3&^7, gdtData3)
	store64(g+selCode3&^7, gdtCode3)
	store64(g+selTSS, tssSize-1|tss&0xffffff<<16|0x89<<40|tss>>24&0xff<<56)
	store64(g+selTSS+8, tss>>32)
	tableRegister(uintptr(unsafe.Pointer(&c.gdtr)), at+unsafe.Offsetof(c.gdt), uint16(unsafe.Sizeof(c.gdt)-1))
	tableRegister(uintptr(unsafe.Pointer(&c.idtr)), nucleusBase+pageSize4, vectors*16-1)

	t := uintptr(unsafe.Pointer(c)) + cpuTSS
	store64(t+4, at+cpuStackTop)  // RSP0
	store64(t+36, at+cpuFaultTop) // IST1
	*(*uint16)(unsafe.Pointer(t + 102)) = tssBitmap
	for i := uintptr(0); i < 0xd00/8; i += 8 {
		store64(t+tssBitmap+i, ^uintptr(0))
	}
	*(*uint8)(unsafe.Pointer(t + tssBitmap + 0xd00/8)) = 0xff
	allowPorts(t+tssBitmap, 0x70, 0b11)  // clock
	allowPorts(t+tssBitmap, 0xe8, 0b110) // debug console
	allowPorts(t+tssBitmap, 0x3f8, 0xff) // serial line
	for port := uintptr(0x600); port < 0x680; port += 8 {
		allowPorts(t+tssBitmap, port, 0xff) // ACPI
	}
	allowPorts(t+tssBitmap, 0xcf8, 0xff) // PCI configuration
	n.cpus[number&(maxCPUs-1)] = at
	return at
}

// tableRegister writes the operand of LGDT or LIDT.
//
//go:nosplit
func tableRegister(at, base uintptr, limit uint16) {
	*(*uint16)(unsafe.Pointer(at)) = limit
	store64(at+2, base)
}

// allowPorts lets CPL 3 use the I/O ports port to port+7 whose bits are set in mask
// (SDM 1 §19.5.2).
//
//go:nosplit
func allowPorts(bitmap, port uintptr, mask uint8) {
	*(*uint8)(unsafe.Pointer(bitmap + port/8)) &^= mask
}

// stubSize is the length of a stub in nucleusstubs, in bytes.
const stubSize = 9

// gates writes the interrupt descriptor table (SDM 3A §6.14.1) to table.
//
//go:nosplit
func gates(table uintptr) {
	stub := nucleusaddress(addressStubs) // all stubs lie in the same 64 KiB
	gate, high := stub&0xffff|selCode0<<16|0x8e00<<32|stub>>16<<48, stub>>32
	for at := table; at < table+vectors*16; at += 16 {
		store64(at, gate)
		store64(at+8, high)
		gate += stubSize
	}
	const onFaultStack, fromProgram = 1 << 32, 3 << 45
	store64(table+2*16, load64(table+2*16)|onFaultStack)
	store64(table+8*16, load64(table+8*16)|onFaultStack)
	store64(table+18*16, load64(table+18*16)|onFaultStack)
	store64(table+3*16, load64(table+3*16)|fromProgram) // INT3
}

// nucleusCPU sets up the CPU that it runs on. The VM's page tables are in use.
//
//go:nosplit
func nucleusCPU(c *cpuState) *cpuState {
	n := nuc()
	nucleusload(c, selTSS)
	nucleuswrmsr(msrSTAR, selCode0<<32|(selData3-8)<<48)
	nucleuswrmsr(msrLSTAR, nucleusaddress(addressSyscall))
	nucleuswrmsr(msrSFMASK, flagsMask)
	nucleuswrmsr(msrGSBase, userCPUs+c.number*userStride)
	nucleuswrmsr(msrKGS, uintptr(unsafe.Pointer(c)))
	nucleussetcr4(n.cr4)
	if n.xcr0 != 0 {
		nucleusxsetbv(n.xcr0)
	}
	n.apicStart(c)
	if c.number == 0 {
		n.measure()
	}
	nucleusxchg(uintptr(unsafe.Pointer(&c.running)), 1)
	return c
}

// monitorZeroes reports whether the monitor promises that memory was zero before it
// wrote the image. Pith's own monitor does, in a CPUID leaf of its own.
//
//go:nosplit
func monitorZeroes() bool {
	const leaf, signature, zeroes = 0x40000100, 0x68746950, 1 << 0
	most, s1, s2, s3 := nucleuscpuid(leaf, 0)
	if most < leaf+1 || s1 != signature || s2 != signature || s3 != signature {
		return false
	}
	features, _, _, _ := nucleuscpuid(leaf+1, 0)
	return features&zeroes != 0
}

// isDevice reports whether [pa, end) contains a device that the nucleus uses, or
// memory of the firmware that CPL 3 may not map with bits.
//
//go:nosplit
func (n *nucleus) isDevice(pa, end, bits uintptr) bool {
	if bits&pteWrite != 0 && pa < lowMemory || pa <= trampoline && trampoline < end {
		return true
	}
	apic := nucleusrdmsr(msrAPICBase) & pteFrame
	return pa <= apic && apic < end
}

// nucleusSetTLS sets the thread pointer, which is the FS base.
//
//go:nosplit
func nucleusSetTLS(v uintptr) uintptr {
	if v >= 1<<47 {
		return nucleusEINVAL
	}
	nucleuswrmsr(msrFSBase, v)
	return 0
}

// nucleusaddress returns the address at which the nucleus sees code.
//
//go:nosplit
func nucleusaddress(which uintptr) uintptr { return nucleuslinked(which) + nucleusAlias }

// startArch sets up this architecture's part of the state, with memory from b.
//
//go:nosplit
func (n *nucleus) startArch(b *bootMemory, s *vmShared) {
	table := b.page()
	gates(table)
	b.put(n.root, nucleusBase+pageSize4, table, pteWrite|pteNX, 1)

	// The trampoline of other CPUs. The boot parameters, which may have been there,
	// are copied by now.
	b.put(n.root, trampoline, trampoline, 0, 1)
	nucleuscopy(trampoline, nucleusaddress(addressTrampoline), trampolineRoot)
	store64(trampoline+trampolineRoot, n.root)
	store64(trampoline+trampolineFar, nucleuslinked(addressAP)|selCode0<<32)
	tableRegister(trampoline+trampolineGDTR, nucleuslinked(addressGDT), 4*8-1)

	n.upcall, n.resumed = nucleuslinked(addressUpcall), nucleuslinked(addressResumed)
	n.resume[0], n.resume[1] = nucleuslinked(addressResume), nucleuslinked(addressResumeEnd)
	n.gate[0], n.gate[1] = nucleuslinked(addressGate), nucleuslinked(addressFaultGate)
	n.entry = nucleuslinked(addressEntry)
	n.features(s)
	n.apicFind(b, n.root)
}
