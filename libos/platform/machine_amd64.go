//go:build pith

package platform

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
)

func portIn(port uint16, size int) uint32
func portOut(port uint16, size int, v uint32)

// In8, In16 and In32 read an I/O port. The machine lets the library OS reach
// the ports of PCI configuration, ACPI and the serial line alone.
func In8(port uint16) uint8   { return uint8(portIn(port, 1)) }
func In16(port uint16) uint16 { return uint16(portIn(port, 2)) }
func In32(port uint16) uint32 { return portIn(port, 4) }

// Out8, Out16 and Out32 write an I/O port.
func Out8(port uint16, v uint8)   { portOut(port, 1, uint32(v)) }
func Out16(port uint16, v uint16) { portOut(port, 2, uint32(v)) }
func Out32(port uint16, v uint32) { portOut(port, 4, v) }

// Vectors of devices, and the descriptors that the poller knows them by.
const (
	firstVector = 0x30
	lastVector  = 0x6f
	irqFD       = 1000
)

// Message is what the device writes to raise the interrupt, the address and
// the data of a message-signalled interrupt (PCI 3.0 §6.8): the first CPU takes
// it.
func (i *Interrupt) Message() (addr uint64, data uint32) { return 0xfee00000, i.vector }

// Route has pin gsi of the I/O APIC raise the interrupt, at each edge: who waits
// ends the cause and then looks again.
func (i *Interrupt) Route(gsi uint32) linux.Errno {
	// 82093AA §3.2; a second one serves the pins behind the first's.
	const base, stride, pins = 0xfec00000, 0x10000, 24
	apics.Lock()
	defer apics.Unlock()
	n := gsi / pins
	if n >= uint32(len(apics.at)) {
		return linux.EINVAL
	}
	if apics.at[n] == 0 {
		addr, errno := MapDevice(base+stride*uint64(n), PageSize)
		if errno != 0 {
			return errno
		}
		apics.at[n] = addr
	}
	write := func(reg, v uint32) {
		atomic.StoreUint32((*uint32)(Pointer(apics.at[n])), reg)
		atomic.StoreUint32((*uint32)(Pointer(apics.at[n]+0x10)), v)
	}
	entry := 0x10 + gsi%pins*2
	write(entry+1, 0) // to the first CPU
	write(entry, i.vector)
	return 0
}

var apics struct {
	sync.Mutex
	at [2]uintptr
}
