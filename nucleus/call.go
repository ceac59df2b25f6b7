//go:build pith

package runtime

const (
	nucleusFirstErr = ^uintptr(4095)

	nucleusENOMEM = ^uintptr(12) + 1
	nucleusEEXIST = ^uintptr(17) + 1
	nucleusEINVAL = ^uintptr(22) + 1
	nucleusENOSYS = ^uintptr(38) + 1
)

// nucleusCall is a call from CPL 3, at from, but for callWait and callArm
// (nucleuscalled).
//
//go:nosplit
func nucleusCall(c *cpuState, num, a1, a2, a3, a4, from uintptr) uintptr {
	n := nuc()
	if !n.isGate(from) {
		nucleusDie(dieForeign)
	}
	if num == callIPI {
		if a1 < n.ncpus {
			n.interrupt(n.cpu(a1))
		}
		return 0
	}
	if num == callTLS {
		return nucleusSetTLS(a1)
	}
	if num == callExit {
		nucleusEnd(a1)
	}
	if num == callStart {
		return n.startNext(c, a1, uint32(a2))
	}
	n.acquire(c)
	r := n.memoryCall(c, num, a1, a2, a3)
	n.release()
	return r
}

// startNext starts the CPU number, which must be the next one, once the one
// before it runs.
//
//go:nosplit
func (n *nucleus) startNext(c *cpuState, number uintptr, id uint32) uintptr {
	n.acquire(c)
	ok := number < maxCPUs && number == n.ncpus && nucleusload32(&n.cpu(number-1).running) != 0
	for i := range n.ncpus {
		if n.cpu(i).id == id {
			ok = false
		}
	}
	if ok {
		n.startCPU(n.tables.cpu(n, number), id)
		n.ncpus++
	}
	n.release()
	if !ok {
		return nucleusEINVAL
	}
	return 0
}

// inUser reports whether CPL 3 may do as it likes with [a, a+size): neither the
// image nor what it shares with the nucleus is in it.
//
//go:nosplit
func (n *nucleus) inUser(a, size uintptr) bool {
	return (a|size)&(pageSize4-1) == 0 && size != 0 &&
		userFirst <= a && a < userLast && size <= userLast-a &&
		(a+size <= n.image[0]&^(pageSize4-1) || a >= (n.image[1]+pageSize4-1)&^(pageSize4-1))
}

// memoryCall is a call under the lock.
//
//go:nosplit
func (n *nucleus) memoryCall(c *cpuState, num, a1, a2, a3 uintptr) uintptr {
	switch {
	case num == callTake:
		first, count := n.takeUntold(a1)
		return first<<24 | count
	case num == callGive:
		n.giveTold(a1, min(a2, n.words*64))
		return 0
	case num == callPower:
		return n.setPower(a1 != 0, a2, a3)
	case num == callDMA:
		return n.place(c, a1, a2, 0, pteWrite)
	case num == callDevice && a2 != 0:
		return n.place(c, a1, a3, a2, pteWrite|pteNoCache)
	case num == callFirmware && a2 != 0:
		return n.place(c, a1, a3, a2, 0)
	}
	if !n.inUser(a1, a2) {
		return nucleusEINVAL
	}
	d := n.dropNothing(c)
	ok := true
	switch {
	case num == callMap:
		op := uintptr(changeMap)
		if a3&mapFixed == 0 {
			op = changeNew
		}
		ok = n.alter(op, accessOf(a3), a1, a1+a2, d)
		if d.reached != 0 {
			n.alter(changeUnmap, 0, a1, d.reached, d)
			return nucleusEEXIST
		}
	case num == callUnmap:
		ok = n.alter(changeUnmap, 0, a1, a1+a2, d)
	case num == callProtect:
		if !n.alter(changeCheckAll, 0, a1, a1+a2, d) {
			return nucleusENOMEM
		}
		ok = n.alter(changeProtect, accessOf(a3), a1, a1+a2, d)
	case num == callDiscard:
		if !n.alter(changeCheckAll, 0, a1, a1+a2, d) {
			return nucleusENOMEM
		}
		ok = n.alter(changeDiscard, 0, a1, a1+a2, d)
	default:
		return nucleusENOSYS
	}
	n.settle(d)
	if !ok {
		return nucleusENOMEM
	}
	return 0
}

// place maps pages at va for good: at physical address pa, which must be no
// memory of the frames, or with pa 0 at frames in a row, whose address it gives.
//
//go:nosplit
func (n *nucleus) place(c *cpuState, va, pages, pa, bits uintptr) uintptr {
	if pages > n.words*64 && pa == 0 || pages > 1<<20 || !n.inUser(va, pages*pageSize4) || pa&(pageSize4-1) != 0 || pa >= mostPhysical {
		return nucleusEINVAL
	}
	d := n.dropNothing(c)
	if !n.alter(changeCheck, 0, va, va+pages*pageSize4, d) {
		return nucleusEEXIST
	}
	if pa == 0 {
		pa = n.takeRun(pages)
		if pa == 0 {
			return nucleusENOMEM
		}
	} else if !n.foreign(pa, pages, bits) {
		return nucleusEINVAL
	}
	n.tables.putRange(n.root, va, pa, pages*pageSize4, bits|pteUser|pteNX|pteFixed)
	return pa
}

// foreign reports whether CPL 3 may have pages at pa: none of the nucleus's and
// none that others may be given.
//
//go:nosplit
func (n *nucleus) foreign(pa, pages, bits uintptr) bool {
	end := pa + pages*pageSize4
	if n.isDevice(pa, end, bits) || pa <= n.image[0] && n.image[0] < end || n.image[0] <= pa && pa < n.image[1] {
		return false
	}
	return !n.overlaps(pa, end)
}
