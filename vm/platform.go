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

//go:linkname pithvmTables pith/libos/platform.FirmwareTables
func pithvmTables() uint64 { return uint64(vmSharedPage().rsdp) }

//go:linkname pithvmHas pith/libos/platform.machineHas
func pithvmHas() (cpus int, memory uint64) { return int(vm.ncpus), uint64(vmSharedPage().memory) }

// vmMachine makes platform call num.
//
//go:nosplit
func vmMachine(t *vmThread, num uintptr) uintptr {
	switch {
	case num == nrDMA:
		return vmPlace(callDMA, t.arg1(), 0, t.arg2())
	case num == nrDevice:
		return vmPlace(callDevice, t.arg2(), t.arg1(), 0)
	case num == nrFirmware:
		return vmPlace(callFirmware, t.arg2(), t.arg1(), 0)
	case num == nrTake:
		return vmnucleus(callTake, t.arg1(), 0, 0, 0)
	case num == nrGive:
		return vmnucleus(callGive, t.arg1(), t.arg2(), 0, 0)
	case num == nrPower:
		return vmnucleus(callPower, t.arg1(), t.arg2(), t.arg3(), 0)
	case num == nrSetWall:
		vmclock.wall = int64(t.arg1()) - vmNow()
		return 0
	case num == nrFire:
		vm.sources[t.arg1()&(vectors-1)].ready = true
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
