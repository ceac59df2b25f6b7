package virtio

import (
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/register"
)

// registers are the registers of a device, or a window of them.
type registers = register.File

// fieldWidth returns the access width for n bytes of configuration at off. It
// is the width of the field if the bytes are one field. 64-bit fields are
// accessed in halves (virtio 1.2 §4.1.3.1, §4.2.2.2).
func fieldWidth(off, n int) int {
	switch {
	case n == 2 && off%2 == 0:
		return 2
	case (n == 4 || n == 8) && off%4 == 0:
		return 4
	}
	return 1
}

// readConfig reads one field at off into p.
func readConfig(r registers, off int, p []byte) {
	width := fieldWidth(off, len(p))
	for i := 0; i < len(p); i += width {
		v := r.Read(off+i, width)
		for n := range width {
			p[i+n] = byte(v >> (8 * n))
		}
	}
}

// writeConfig writes p to the field at off.
func writeConfig(r registers, off int, p []byte) {
	width := fieldWidth(off, len(p))
	for i := 0; i < len(p); i += width {
		var v uint32
		for n := range width {
			v |= uint32(p[i+n]) << (8 * n)
		}
		r.Write(off+i, width, v)
	}
}

// readStable reads the configuration field at off within one generation
// (§2.5.3). It returns false if the configuration keeps changing.
func readStable(r registers, off int, p []byte, generation func() uint32) bool {
	const tries = 1000
	for range tries {
		before := generation()
		readConfig(r, off, p)
		if generation() == before {
			return true
		}
	}
	return false
}

// Bits of the interrupt status (§4.1.4.5, §4.2.2).
const (
	statusUsedBuffers   = 1
	statusConfigChanged = 2
)

// ackAll acknowledges an interrupt's causes until none is left, because only
// then does the next edge come. It gives up on a device that always has another
// cause.
func ackAll(status func() uint32, ack func(bits uint32)) (queue, config bool) {
	const tries = 100
	for range tries {
		bits := status() & (statusUsedBuffers | statusConfigChanged)
		if bits == 0 {
			break
		}
		ack(bits)
		queue = queue || bits&statusUsedBuffers != 0
		config = config || bits&statusConfigChanged != 0
	}
	return queue, config
}

// awaitReset waits until status reads 0 after 0 was written (§2.4.1). Most
// devices reset at once.
func awaitReset(status func() uint8) {
	const pause = 1e6
	for waited := int64(0); status() != 0 && waited < longestReset; waited += pause {
		platform.Sleep(pause)
	}
}

var longestReset int64 = 1e9 // in nanoseconds
