package virtio

// region is a range of guest-physical addresses. Size 0 means that it does not
// exist.
type region struct {
	addr uint64
	size int
}

// capabilities is the content of a function's capability list (PCI 3.0 §6.7,
// virtio 1.2 §4.1.4): of each kind, the first that lies in memory at a valid
// address.
type capabilities struct {
	common, notify, isr, device region
	notifyStep                  uint32
	msix                        region // MSI-X table
	msixAt                      int    // offset of the MSI-X capability
	misplaced                   bool   // a capability has an invalid address
}

// Capability IDs.
const (
	capVendor = 0x09
	capMSIX   = 0x11
)

// Types of virtio's capabilities (§4.1.4).
const (
	capCommon = 1
	capNotify = 2
	capISR    = 3
	capDevice = 4
)

const msixEnable = 1 << 31 // in the capability's first word; bit 30, the function mask, is 0

// readCapabilities walks the list. The list may be damaged or a loop, so the
// walk visits no more entries than fit into the space.
func readCapabilities(c pciConfig, f function) capabilities {
	const (
		first   = 0x40 // end of the header
		end     = 0x100
		longest = (end - first) / 4
	)
	var caps capabilities
	if c.Read(f, pciCommand)&pciHasCapabilities == 0 {
		return caps
	}
	at := int(c.Read(f, pciCapabilities) & 0xfc)
	for range longest {
		if at < first {
			break
		}
		word := c.Read(f, at)
		switch {
		case word&0xff == capVendor && at <= end-20:
			caps.virtio(c, f, at, word>>24)
		case word&0xff == capMSIX && at <= end-12 && caps.msix.size == 0:
			entries := int(word>>16&0x7ff) + 1
			table := c.Read(f, at+4)
			caps.msix = caps.locate(c, f, int(table&7), table&^7, uint32(entries*msixEntry))
			caps.msixAt = at
		}
		at = int(word >> 8 & 0xfc)
	}
	return caps
}

// virtio reads struct virtio_pci_cap (§4.1.4).
func (caps *capabilities) virtio(c pciConfig, f function, at int, kind uint32) {
	var to *region
	switch kind {
	case capCommon:
		to = &caps.common
	case capNotify:
		to = &caps.notify
	case capISR:
		to = &caps.isr
	case capDevice:
		to = &caps.device
	default:
		return
	}
	if to.size != 0 {
		return
	}
	*to = caps.locate(c, f, int(c.Read(f, at+4)&0xff), c.Read(f, at+8), c.Read(f, at+12))
	if kind == capNotify {
		caps.notifyStep = c.Read(f, at+16)
	}
}

// locate returns the region of size bytes at off in base address register bar
// (PCI 3.0 §6.2.5.1). It must map memory, below maxPhys. platform.MapDevice
// checks that there is no RAM at that address.
func (caps *capabilities) locate(c pciConfig, f function, bar int, off, size uint32) region {
	const largest = 16 << 20 // in bytes; more is not mapped
	base, ok := barBase(c, f, bar)
	if !ok || size == 0 || off%4 != 0 || uint64(off)+uint64(size) > maxPhys-base {
		caps.misplaced = true
		return region{}
	}
	return region{base + uint64(off), int(min(size, largest))}
}

// barBase returns the address where a base address register maps memory. It
// returns false if the register maps nothing, or ports.
func barBase(c pciConfig, f function, bar int) (uint64, bool) {
	const (
		bars  = 6
		ports = 1
		width = 3 << 1
		wide  = 2 << 1
	)
	if bar >= bars {
		return 0, false
	}
	low := c.Read(f, pciBAR+4*bar)
	base := uint64(low &^ 15)
	switch {
	case low&ports != 0:
		return 0, false
	case low&width != wide:
	case bar == bars-1:
		return 0, false
	default:
		base |= uint64(c.Read(f, pciBAR+4*(bar+1))) << 32
	}
	return base, base != 0 && base < maxPhys
}
