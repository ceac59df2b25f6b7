//go:build pith

package runtime

import "unsafe"

// sysUnusedOS says that the heap does not use memory until sysUsedOS. In a virtual machine
// the thread layer may keep its pages until then. If there is no memory for a page table
// that is needed to unmap them, the heap keeps them too.
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

// needZeroAfterSysUnusedOS reports whether unused memory may still have its old contents.
func needZeroAfterSysUnusedOS() bool { return pithvm != 0 || debug.madvdontneed == 0 }
