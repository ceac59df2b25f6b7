//go:build pith

package runtime

import _ "unsafe" // for go:linkname

// I/O ports (SDM 1 §19).

func vmouts(port, p, n uintptr)
func vmin8(port uintptr) uintptr
func vmin16(port uintptr) uintptr
func vmin32(port uintptr) uintptr
func vmout8(port, v uintptr)
func vmout16(port, v uintptr)
func vmout32(port, v uintptr)

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

// The console of the first moments: the monitor's debug console, or else the
// serial line.

// vmConsoleWrite writes n bytes at p.
//
//go:nosplit
func vmConsoleWrite(p, n uintptr) {
	if vmin8(portText) == portThere {
		vmouts(portText, p, n)
		return
	}
	for i := range n {
		b := uintptr(load8(p + i))
		if b == '\n' {
			vmSerial('\r')
		}
		vmSerial(b)
	}
}

//go:nosplit
func vmSerial(b uintptr) {
	for range 1 << 16 {
		if vmin8(portSerial+5)&0x20 != 0 {
			break
		}
	}
	vmout8(portSerial, b)
}
