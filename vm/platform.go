//go:build pith

package runtime

import _ "unsafe" // for go:linkname

// What package pith/libos/platform needs for the drivers of a virtual machine.
// The calls go through the gate, numbered behind Linux's.
const (
	nrDMA = 1000 + iota
	nrDevice
	nrFirmware
	nrTake
	nrGive
	nrSetWall
	nrFire
	nrPower
)

//go:linkname pithvmThere pith/libos/platform.VM
func pithvmThere() bool { return pithvm != 0 }

//go:linkname pithvmIn pith/libos/platform.portIn
//go:nosplit
func pithvmIn(port uint16, size int) uint32 {
	switch size {
	case 1:
		return uint32(vmin8(uintptr(port)))
	case 2:
		return uint32(vmin16(uintptr(port)))
	}
	return uint32(vmin32(uintptr(port)))
}

//go:linkname pithvmOut pith/libos/platform.portOut
//go:nosplit
func pithvmOut(port uint16, size int, v uint32) {
	switch size {
	case 1:
		vmout8(uintptr(port), uintptr(v))
	case 2:
		vmout16(uintptr(port), uintptr(v))
	default:
		vmout32(uintptr(port), uintptr(v))
	}
}

//go:linkname pithvmTables pith/libos/platform.FirmwareTables
func pithvmTables() uint64 { return uint64(vmSharedPage().rsdp) }

//go:linkname pithvmHas pith/libos/platform.machineHas
func pithvmHas() (cpus int, memory uint64) { return int(vm.ncpus), uint64(vmSharedPage().memory) }

// vmMachine is a call of package platform's: DI and on its arguments.
//
//go:nosplit
func vmMachine(t *vmThread, num uintptr) uintptr {
	switch {
	case num == nrDMA:
		return vmPlace(callDMA, t.di, 0, t.si)
	case num == nrDevice:
		return vmPlace(callDevice, t.si, t.di, 0)
	case num == nrFirmware:
		return vmPlace(callFirmware, t.si, t.di, 0)
	case num == nrTake:
		return vmnucleus(callTake, t.di, 0, 0, 0)
	case num == nrGive:
		return vmnucleus(callGive, t.di, t.si, 0, 0)
	case num == nrPower:
		return vmnucleus(callPower, t.di, t.si, t.dx, 0)
	case num == nrSetWall:
		vmclock.wall = int64(t.di) - vmNow()
		return 0
	case num == nrFire:
		vm.sources[t.di&(vectors-1)].ready = true
		vmPollWake()
		return 0
	}
	return vmErr(_ENOSYSvm)
}

// vmPlace maps pages at a new address, which it gives. The physical address of
// DMA memory goes to *phys.
//
//go:nosplit
func vmPlace(call, pages, pa, phys uintptr) uintptr {
	size := pages * pageSize4
	for {
		if pages == 0 || size/pageSize4 != pages || vm.mmap < size+1<<30 {
			return vmErr(_ENOMEM)
		}
		at := vm.mmap - size
		vm.mmap = at
		r := uintptr(0)
		if call == callDMA {
			r = vmnucleus(call, at, pages, 0, 0)
		} else {
			r = vmnucleus(call, at, pa, pages, 0)
		}
		if r == nucleusEEXIST {
			continue
		}
		if r > nucleusFirstErr {
			vm.mmap += size
			return r
		}
		if call == callDMA {
			store64(phys, r)
		}
		return at
	}
}
