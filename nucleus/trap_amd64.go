//go:build pith

package runtime

import "unsafe"

// trapFrame is what nucleustrap and the CPU push.
type trapFrame struct {
	ax, bx, cx, dx, si, di, bp, r8, r9, r10, r11, r12, r13, r14, r15 uintptr

	vector, code          uintptr
	ip, cs, flags, sp, ss uintptr
}

const (
	vectorDebug       = 1
	vectorInvalid     = 6
	vectorDoubleFault = 8
	vectorPageFault   = 14

	// Page fault error code (SDM 3A §4.7).
	faultPresent = 1 << 0
	faultWrite   = 1 << 1
	// faultMapped is added for CPL 3: the page is mapped, but not for this.
	faultMapped = 1 << 32
)

// nucleusTrap handles an exception or an interrupt. Most of them become upcalls:
// the interrupted thread is diverted to CPL 3's thread layer. The interrupts that
// come often do not come here (nucleusirq).
//
//go:nosplit
func nucleusTrap(f *trapFrame, c *cpuState) {
	n := nuc()
	user := f.cs&3 != 0
	switch {
	case f.vector == vectorPageFault && user:
		va := nucleuscr2()
		if n.notRaised(f) {
			return
		}
		if f.code&faultPresent == 0 {
			n.acquire(c)
			r := n.pageIn(va, f.code&faultWrite != 0)
			n.release()
			switch r {
			case faultDone:
				return
			case faultMemory:
				nucleusDie(dieMemory)
			case faultAccess:
				f.code |= faultMapped
			}
		} else {
			f.code |= faultMapped
		}
		n.divert(f, c, va)
	case f.vector < 32:
		if !user || f.vector == 2 || f.vector == vectorDoubleFault || f.vector == 18 {
			nucleusCrash(f, c)
		}
		n.divert(f, c, 0)
	case f.vector == vectorSpurious:
	case f.vector == vectorFlush:
		n.apicWrite(apicEOI, 0)
		n.obey(c)
	default: // nobody's: a device was told wrong
		n.apicWrite(apicEOI, 0)
	}
}

const ud2Size = 2

// notRaised reports whether the fault is that of a SYSCALL which went to its
// target but stayed at CPL 3, as KVM does where it is itself virtualised and
// interprets what runs at CPL 0. From then on the gate is another one, where a
// fault raises; the call that showed it is made there. It is the first of all:
// where the gate is that one already, a SYSCALL is the program's.
//
//go:nosplit
func (n *nucleus) notRaised(f *trapFrame) bool {
	s := n.sharedPage()
	if f.ip != nucleusaddress(addressSyscall) {
		return false
	}
	if f.cx-n.gate[0] <= 64 {
		s.faultgate = true
		f.ip, f.flags = n.gate[1], f.r11
		return true
	}
	if s.faultgate {
		nucleusDie(dieForeign)
	}
	return false
}

// divert has CPL 3 continue in its thread layer, on that one's stack, with the
// registers of the interrupted thread.
//
//go:nosplit
func (n *nucleus) divert(f *trapFrame, c *cpuState, address uintptr) {
	b := (*cpuBlock)(unsafe.Pointer(c.block))
	resuming := n.resume[0] <= f.ip && f.ip < n.resume[1]
	if f.vector == vectorDebug && (b.masked != 0 || resuming) {
		f.flags &^= 1 << 8 // a thread that traces its own steps (TF) is not traced here
		return
	}
	if f.vector < vectorDevice && (b.masked != 0 || resuming) {
		nucleusCrash(f, c)
	}
	b.vector, b.code, b.address = f.vector, f.code, address
	b.masked = 1
	if resuming {
		f.ip = n.resumed
	} else {
		b.ip, b.flags, b.sp = f.ip, f.flags, f.sp
		f.ip = n.upcall
	}
	f.sp = c.userstack
	f.flags = flagsUser
}

// isGate reports whether a call that returns to from was made where the thread
// layer makes its calls.
//
//go:nosplit
func (n *nucleus) isGate(from uintptr) bool {
	return from-n.gate[0] <= 64 || from-n.gate[1] == ud2Size
}
