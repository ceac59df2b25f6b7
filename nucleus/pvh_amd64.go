//go:build pith

package runtime

import "unsafe"

// The PVH entry (pvh_amd64.s): what the monitor passes is struct hvm_start_info
// (Xen, xen/include/public/arch-x86/hvm/start_info.h).

type hvmStartInfo struct {
	magic, version, flags, modules uint32
	modlist, cmdline, rsdp         uint64
	memmap                         uint64
	entries, _                     uint32
}

const hvmMagic = 0x336ec578

// nucleusrecord is no local variable: to zero one takes a vector register.
var nucleusrecord bootRecord

// nucleusPVH makes of it what nucleusStart needs. The entries of its memory map and of
// its list of modules are the record's.
//
//go:nosplit
func nucleusPVH(info uintptr) (cpu, root uintptr) {
	h := (*hvmStartInfo)(unsafe.Pointer(info))
	if h.magic != hvmMagic || h.version < 1 || h.memmap == 0 {
		nucleusDie(dieStart)
	}
	// The legacy interrupt controllers (8259A), which a BIOS leaves on.
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

// textLength is the length of the text at p, which a zero ends; 0 at 0.
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
