//go:build pith

package runtime

import "unsafe"

// sysUnusedOS says that memory of the heap is of no use until sysUsedOS. In
// a virtual machine its pages may be kept until then. If no memory is left for a
// page table to take them out, the heap just keeps them.
func sysUnusedOS(v unsafe.Pointer, n uintptr) {
	if pithvm == 0 {
		linuxsysUnusedOS(v, n)
		return
	}
	madvise(v, n, adviceUnused)
}

func sysUsedOS(v unsafe.Pointer, n uintptr) {
	if pithvm == 0 {
		linuxsysUsedOS(v, n)
		return
	}
	madvise(v, n, adviceUsed)
}

// needZeroAfterSysUnusedOS says whether memory that was unused may hold what it
// held before.
func needZeroAfterSysUnusedOS() bool { return pithvm != 0 || debug.madvdontneed == 0 }
