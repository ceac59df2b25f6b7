//go:build pith

package runtime

import "unsafe"

// sysUnusedOS declares that the heap does not use a range of memory until sysUsedOS. In a VM
// the thread layer may keep the range's pages until then. To unmap them may take a new page
// table. If there is no memory for it, the heap keeps the pages.
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
