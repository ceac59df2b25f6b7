//go:build pith

package runtime

import "unsafe"

// hvmStartInfo is struct hvm_start_info, which the monitor passes (Xen,
// xen/include/public/arch-x86/hvm/start_info.h).
type hvmStartInfo struct {
	magic, version, flags, modules uint32
	modlist, cmdline, rsdp         uint64
	memmap                         uint64
	entries, _                     uint32
}

const hvmMagic = 0x336ec578

// nucleusrecord is not a local variable: zeroing one would use a vector register.
var nucleusrecord bootRecord

// nucleusPVH makes the boot record from the start info. The memory map and the list of
// modules already have the record's layout. They stay where they are.
//
//go:nosplit
func nucleusPVH(info uintptr) (cpu, root uintptr) {
	h := (*hvmStartInfo)(unsafe.Pointer(info))
	if h.magic != hvmMagic || h.version < 1 || h.memmap == 0 {
		nucleusDie(dieStart)
	}
	// A BIOS leaves the legacy interrupt controllers (8259A) on.
	nucleusout(0x21, 0xff)
	nucleusout(0xa1, 0xff)
	image := (*[4]uintptr)(unsafe.Pointer(&nucleusimage))
	r := &nucleusrecord
	r.image[0], r.image[1] = image[0], image[3]
	r.memory, r.ranges = uintptr(h.memmap), uintptr(h.entries)
	r.line, r.length = uintptr(h.cmdline), textLength(uintptr(h.cmdline))
	r.more, r.parts = uintptr(h.modlist), uintptr(h.modules)
	r.firmware = uintptr(h.rsdp)
	r.zeroed = monitorZeroes()
	return nucleusStart(r)
}

// textLength returns the length of the zero-terminated text at p, and 0 if p is 0.
//
//go:nosplit
func textLength(p uintptr) uintptr {
	if p == 0 {
		return 0
	}
	n := uintptr(0)
	for n < maxLine && load8(p+n) != 0 {
		n++
	}
	return n
}
