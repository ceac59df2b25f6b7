// Package register accesses device registers: those in memory and those behind
// I/O ports. Packages virtio and acpi use it.
package register

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// File is a block of registers. width is 1, 2 or 4 bytes, and the access has
// exactly this width. The caller must stay within the block.
type File interface {
	Read(off, width int) uint32
	Write(off, width int, v uint32)
}

// Map maps n bytes of registers at guest-physical address phys.
func Map(phys uint64, n int) (File, linux.Errno) {
	at, errno := platform.MapDevice(phys, n)
	return mapped(at), errno
}

// mapped is the virtual address of a block of registers.
type mapped uintptr

//go:noinline
func (m mapped) Read(off, width int) uint32 {
	p := platform.Pointer(uintptr(m) + uintptr(off))
	switch width {
	case 1:
		return uint32(*(*uint8)(p))
	case 2:
		return uint32(*(*uint16)(p))
	}
	return atomic.LoadUint32((*uint32)(p))
}

// Write is a plain store. An atomic store would be an exchange, which also
// reads the register, and which not every monitor emulates. It is not inlined,
// so that each call is exactly one store.
//
//go:noinline
func (m mapped) Write(off, width int, v uint32) {
	p := platform.Pointer(uintptr(m) + uintptr(off))
	switch width {
	case 1:
		*(*uint8)(p) = uint8(v)
	case 2:
		*(*uint16)(p) = uint16(v)
	default:
		*(*uint32)(p) = v
	}
}

// Ports is a block of registers that starts at an I/O port.
type Ports uint16

func (p Ports) Read(off, width int) uint32 {
	port := uint16(p) + uint16(off)
	switch width {
	case 1:
		return uint32(platform.In8(port))
	case 2:
		return uint32(platform.In16(port))
	}
	return platform.In32(port)
}

func (p Ports) Write(off, width int, v uint32) {
	port := uint16(p) + uint16(off)
	switch width {
	case 1:
		platform.Out8(port, uint8(v))
	case 2:
		platform.Out16(port, uint16(v))
	default:
		platform.Out32(port, v)
	}
}
