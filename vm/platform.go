//go:build pith

package runtime

import _ "unsafe" // for go:linkname

// What package pith/libos/platform needs for the drivers of a virtual machine.

//go:linkname pithvmThere pith/libos/platform.VM
func pithvmThere() bool { return pithvm != 0 }

//go:linkname pithvmTables pith/libos/platform.FirmwareTables
func pithvmTables() uint64 { return uint64(vmSharedPage().rsdp) }

//go:linkname pithvmHas pith/libos/platform.machineHas
func pithvmHas() (cpus int, memory uint64) { return int(vm.ncpus), uint64(vmSharedPage().memory) }

// vmPlatformCall makes platform call num.
//
//go:nosplit
func vmPlatformCall(t *vmThread, num uintptr) uintptr {
	switch {
	case num == platformDMA:
		return vmPlace(callDMA, t.arg1(), 0, t.arg2())
	case num == platformDevice:
		return vmPlace(callDevice, t.arg2(), t.arg1(), 0)
	case num == platformFirmware:
		return vmPlace(callFirmware, t.arg2(), t.arg1(), 0)
	case num == platformTake:
		return vmnucleus(callTake, t.arg1(), 0, 0, 0)
	case num == platformGive:
		return vmnucleus(callGive, t.arg1(), t.arg2(), 0, 0)
	case num == platformPower:
		return vmnucleus(callPower, t.arg1(), t.arg2(), t.arg3(), 0)
	case num == platformSetWall:
		vmclock.wall = int64(t.arg1()) - vmNow()
		return 0
	case num == platformFire:
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
