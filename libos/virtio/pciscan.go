package virtio

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// function is the address of a PCI function: bus<<8 | device<<3 | function.
type function uint16

func (f function) String() string {
	hex := func(v, digits int) string {
		const all = "0123456789abcdef"
		s := ""
		for range digits {
			s, v = string(all[v&15])+s, v>>4
		}
		return s
	}
	return hex(int(f>>8), 2) + ":" + hex(int(f>>3&31), 2) + "." + hex(int(f&7), 1)
}

// pciConfig is the configuration space of PCI functions, in 32-bit words. off
// is below 256 and a multiple of 4.
type pciConfig interface {
	Read(f function, off int) uint32
	Write(f function, off int, v uint32)
}

// portConfig is configuration mechanism 1 (PCI 3.0 §3.2.2.3.2): one port for
// the address, and one for the data.
type portConfig struct{}

const (
	pciAddressPort = 0xcf8
	pciDataPort    = 0xcfc
	pciEnable      = 1 << 31
)

var pciPorts sync.Mutex // held from the access to the address port until that to the data port

func (portConfig) Read(f function, off int) uint32 {
	pciPorts.Lock()
	defer pciPorts.Unlock()
	platform.Out32(pciAddressPort, pciEnable|uint32(f)<<8|uint32(off))
	return platform.In32(pciDataPort)
}

func (portConfig) Write(f function, off int, v uint32) {
	pciPorts.Lock()
	defer pciPorts.Unlock()
	platform.Out32(pciAddressPort, pciEnable|uint32(f)<<8|uint32(off))
	platform.Out32(pciDataPort, v)
}

// pciPresent reports whether configuration mechanism 1 exists: its address port
// can be read back.
func pciPresent() bool {
	pciPorts.Lock()
	defer pciPorts.Unlock()
	platform.Out32(pciAddressPort, pciEnable)
	return platform.In32(pciAddressPort) == pciEnable
}

// Words of the configuration header (PCI 3.0 §6.1).
const (
	pciID           = 0x00 // vendor, device
	pciCommand      = 0x04 // command, status
	pciHeader       = 0x0c // header type in byte 2
	pciBAR          = 0x10
	pciBuses        = 0x18 // bridges only: secondary bus in byte 1
	pciSubsystem    = 0x2c // subsystem vendor, subsystem device
	pciCapabilities = 0x34 // pointer to the first capability
	pciLine         = 0x3c // interrupt line in byte 0
)

// Bits of those words.
const (
	pciMemory, pciMaster, pciNoINTx = 1 << 1, 1 << 2, 1 << 10 // command
	pciHasCapabilities              = 1 << (16 + 4)           // status
	pciMultiFunction                = 0x80                    // header type
	pciBridge                       = 1
)

// pciDevices opens the virtio devices on bus 0 and on the buses behind it.
func pciDevices(c pciConfig, m mapper) []Transport {
	s := pciScan{config: c, mapper: m}
	s.bus(0)
	return s.found
}

// pciScan is a scan of the buses. Each bus is scanned once, whatever the
// bridges report.
type pciScan struct {
	config pciConfig
	mapper mapper
	seen   [256]bool
	pins   [16]bool // in use
	found  []Transport
}

func (s *pciScan) bus(n uint8) {
	if s.seen[n] {
		return
	}
	s.seen[n] = true
	for device := range 32 {
		f := function(n)<<8 | function(device)<<3
		if !s.function(f) {
			continue
		}
		if s.config.Read(f, pciHeader)>>16&pciMultiFunction != 0 {
			for i := range function(7) {
				s.function(f + i + 1)
			}
		}
	}
}

// function scans one function. It returns false if the function does not exist.
func (s *pciScan) function(f function) bool {
	id := s.config.Read(f, pciID)
	if id == 0 || id == 0xffffffff {
		return false
	}
	if s.config.Read(f, pciHeader)>>16&^pciMultiFunction&0xff == pciBridge {
		s.bus(uint8(s.config.Read(f, pciBuses) >> 8))
		return true
	}
	kind := s.kind(f, id)
	if kind == 0 {
		return true
	}
	// A pin serves one device only: while another device holds it up, edges are
	// lost.
	pin := s.config.Read(f, pciLine) & 0xff
	if pin >= uint32(len(s.pins)) || s.pins[pin] {
		pin = 0
	}
	t, errno := newPCI(s.config, s.mapper, f, kind, pin)
	if errno != 0 {
		report("pith: device pci " + f.String() + " cannot be used: " + pciReason(errno) + "\n")
		return true
	}
	if _, config := t.OwnInterrupts(); !config {
		s.pins[pin] = true
	}
	s.found = append(s.found, t)
	return true
}

func pciReason(errno linux.Errno) string {
	switch errno {
	case linux.ENODEV:
		return "it is a legacy device, older than virtio 1.0"
	case linux.EINVAL:
		return "its registers are at invalid addresses"
	case linux.ENOTSUP:
		return "it has neither message-signalled interrupts (MSI-X) nor an interrupt line of its own"
	}
	return errno.Name()
}

// kind returns the virtio device ID of a function, or 0 if it is not a virtio
// device (virtio 1.2 §4.1.2). Transitional devices have the device ID in the
// subsystem ID.
func (s *pciScan) kind(f function, id uint32) uint32 {
	const (
		vendor              = 0x1af4
		transitional, first = 0x1000, 0x1040
		end                 = 0x1080
	)
	switch device := id >> 16; {
	case id&0xffff != vendor || device < transitional || device >= end:
		return 0
	case device < first:
		return s.config.Read(f, pciSubsystem) >> 16
	default:
		return device - first
	}
}
