// Package register accesses the registers of devices: those in memory and those
// behind I/O ports. The drivers of package virtio and package acpi stand on it.
package register

import (
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// File are registers that belong together. Width is 1, 2 or 4 bytes, and an
// access has exactly that one; the caller stays within the file.
type File interface {
	Read(off, width int) uint32
	Write(off, width int, v uint32)
}

// Map gives the registers of n bytes at physical address phys.
func Map(phys uint64, n int) (File, linux.Errno) {
	at, errno := platform.MapDevice(phys, n)
	return mapped(at), errno
}

// mapped are registers at an address of ours.
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

// Write is a plain store: an atomic one is an exchange, which reads the
// register too, and is not always emulated. Not inlined, so that each call is
// a store.
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

// Ports are the registers from an I/O port on.
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
