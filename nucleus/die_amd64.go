//go:build pith

package runtime

import "unsafe"

const (
	portText    = 0xe9
	portControl = 0xea
	portSerial  = 0x3f8
	portExit    = 0xf4
	portReset   = 0x64
	portThere   = 0xe9 // what a debug console reads
)

//go:nosplit
func nucleusPut(b uintptr) {
	if nucleusin(portText) == portThere {
		nucleusout(portText, b)
		return
	}
	for range 1 << 16 {
		if nucleusin(portSerial+5)&0x20 != 0 { // transmitter empty
			break
		}
	}
	nucleusout(portSerial, b)
}

// nucleusCrash reports a fault where none may be: in the nucleus or in CPL 3's
// thread layer.
//
//go:nosplit
func nucleusCrash(f *trapFrame, c *cpuState) {
	nucleusPrint("pith: fault in the nucleus, please report this\n")
	nucleusHex("cpu ", c.number)
	nucleusHex(" vector ", f.vector)
	nucleusHex(" code ", f.code)
	nucleusHex(" cr2 ", nucleuscr2())
	nucleusHex("\nip ", f.ip)
	nucleusHex(" cs ", f.cs)
	nucleusHex(" flags ", f.flags)
	nucleusHex(" sp ", f.sp)
	nucleusHex("\nax ", f.ax)
	nucleusHex(" bx ", f.bx)
	nucleusHex(" cx ", f.cx)
	nucleusHex(" dx ", f.dx)
	nucleusHex("\nsi ", f.si)
	nucleusHex(" di ", f.di)
	nucleusHex(" bp ", f.bp)
	nucleusHex(" r8 ", f.r8)
	nucleusHex("\nr9 ", f.r9)
	nucleusHex(" r10 ", f.r10)
	nucleusHex(" r11 ", f.r11)
	nucleusHex(" r12 ", f.r12)
	nucleusHex("\nr13 ", f.r13)
	nucleusHex(" r14 ", f.r14)
	nucleusHex(" r15 ", f.r15)
	nucleusPrint("\ntrace, by frame pointers:\n")
	n := nuc()
	bp := f.bp
	for range 16 {
		// Frames are on stacks: the nucleus's, or the thread layer's.
		if bp&7 != 0 || !(nucleusCPUs <= bp && bp < nucleusCPUs+maxCPUs*cpuStride ||
			userCPUs <= bp && bp < userCPUs+n.ncpus*userStride && n.cr4&cr4SMAP == 0) {
			break
		}
		nucleusHex("  ", load64(bp+8))
		nucleusPrint("\n")
		bp = load64(bp)
	}
	nucleusEnd(exitCrash)
}

// nucleusEnd ends the machine: it tells the monitor the exit code by the
// control port, QEMU by isa-debug-exit, switches the machine off, and resets what
// is still there.
//
//go:nosplit
func nucleusEnd(code uintptr) {
	code &= 0xff
	if nucleusin(portControl) == portThere {
		nucleusout(portControl, 'e')
		nucleusout(portControl, 'x')
		nucleusout(portControl, 'i')
		nucleusout(portControl, 't')
		nucleusout(portControl, ' ')
		nucleusout(portControl, '0'+code/100)
		nucleusout(portControl, '0'+code/10%10)
		nucleusout(portControl, '0'+code%10)
		nucleusout(portControl, '\n')
	}
	nucleusoutl(portExit, code)
	nucleusPowerOff()
	nucleusout(portReset, 0xfe) // keyboard controller: reset
	nucleustriple()
}

// nucleusPowerOff switches the machine off, once it is known how.
//
//go:nosplit
func nucleusPowerOff() {
	if !nucleusRuns() {
		return
	}
	n := nuc()
	if n.powerPort != 0 {
		nucleusoutw(n.powerPort, n.powerValue)
	}
	if n.powerByte != 0 {
		*(*uint8)(unsafe.Pointer(n.powerByte)) = uint8(n.powerValue)
	}
}

// nucleusRuns reports whether the machine has its own page tables: before, there
// is no nucleus to ask.
//
//go:nosplit
func nucleusRuns() bool { return nucleuscr3() == nucleusboot.root }

// setPower remembers what switches the machine off.
//
//go:nosplit
func (n *nucleus) setPower(port bool, addr, value uintptr) uintptr {
	if addr >= mostPhysical {
		return nucleusEINVAL
	}
	if port {
		n.powerPort = addr & 0xffff
	} else {
		page := addr &^ (pageSize4 - 1)
		if !n.foreign(page, 1, pteWrite) || n.powerByte != 0 {
			return nucleusEINVAL
		}
		n.tables.put(n.root, nucleusPower, page, pteWrite|pteNX|pteNoCache, 1)
		n.powerByte = nucleusPower + addr - page
	}
	n.powerValue = value
	return 0
}
