package virtio

import (
	"strconv"
	"strings"
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/register"
)

// Discover finds the VM's devices, once. It takes the MMIO devices that the
// monitor names on the kernel command line. If there are none, it scans PCI.
// Without PCI, it checks the fixed addresses of QEMU's microvm.
var Discover = sync.OnceValue(discover)

func discover() []Transport {
	if !platform.VM() {
		return nil
	}
	if found, named := namedDevices(platform.Config().Devices, register.Map); named {
		return found
	}
	if pciPresent() {
		return pciDevices(portConfig{}, register.Map)
	}
	return microvmDevices(register.Map, platform.FirmwareTables() != 0)
}

// Find returns the devices with that device ID, in the order of discovery.
func Find(id uint32) []Transport {
	var found []Transport
	for _, t := range Discover() {
		if t.DeviceID() == id {
			found = append(found, t)
		}
	}
	return found
}

// mapper maps the registers of a device: size bytes at guest-physical address
// addr.
type mapper func(addr uint64, size int) (registers, linux.Errno)

// openMMIO opens the device whose registers are size bytes at addr.
func openMMIO(m mapper, addr uint64, size int, gsi uint32) (Transport, linux.Errno) {
	r, errno := m(addr, size)
	if errno != 0 {
		return nil, errno
	}
	return newMMIO(r, addr, size, gsi)
}

// namedDevices opens the devices that the kernel parameters name, in Linux's
// format: virtio_mmio.device=SIZE@ADDRESS:GSI[:ID]
// (drivers/virtio/virtio_mmio.c). It ignores other parameters. named is whether
// there was such a parameter.
func namedDevices(params []string, m mapper) (found []Transport, named bool) {
	for _, param := range params {
		what, ok := strings.CutPrefix(param, "virtio_mmio.device=")
		if !ok {
			continue
		}
		named = true
		size, addr, gsi, ok := parseMMIO(what)
		if !ok {
			report("pith: " + param + ": this is not of the form virtio_mmio.device=SIZE@ADDRESS:GSI\n")
			continue
		}
		t, errno := openMMIO(m, addr, size, gsi)
		if errno == 0 {
			found = append(found, t)
		} else if errno != linux.ENODEV {
			report("pith: " + param + ": " + errno.Name() + "\n")
		}
	}
	return found, named
}

func parseMMIO(s string) (size int, addr uint64, gsi uint32, ok bool) {
	const largest = 1 << 20
	text, rest, _ := strings.Cut(s, "@")
	place, rest, _ := strings.Cut(rest, ":")
	pin, _, _ := strings.Cut(rest, ":") // the ID is only for Linux's device names
	unit := uint64(1)
	switch {
	case strings.HasSuffix(text, "K"), strings.HasSuffix(text, "k"):
		unit, text = 1<<10, text[:len(text)-1]
	case strings.HasSuffix(text, "M"), strings.HasSuffix(text, "m"):
		unit, text = 1<<20, text[:len(text)-1]
	}
	n, err := strconv.ParseUint(text, 0, 32)
	if err != nil || n*unit < mmioConfig || n*unit > largest {
		return 0, 0, 0, false
	}
	addr, err = strconv.ParseUint(place, 0, 64)
	if err != nil || addr == 0 || addr%4 != 0 || addr > maxPhys-n*unit {
		return 0, 0, 0, false
	}
	irq, err := strconv.ParseUint(pin, 0, 32)
	if err != nil {
		return 0, 0, 0, false
	}
	return int(n * unit), addr, uint32(irq), true
}

// maxPhys is larger than every physical address of x86-64.
const maxPhys = 1 << 52

// microvmDevices probes the addresses of QEMU's microvm (hw/i386/microvm.c). A
// microvm with a second I/O APIC has 24 devices on it. Otherwise there are 8,
// on pins that depend on the presence of ACPI.
func microvmDevices(m mapper, acpi bool) []Transport {
	const (
		base, step  = 0xfeb00000, 0x200
		few, many   = 8, 24
		plain       = 5 // GSI of the first device
		withACPI    = 16
		secondAPICs = 24
	)
	slots, gsi := few, uint32(plain)
	if acpi {
		gsi = withACPI
	}
	if r, errno := m(base+few*step, step); errno == 0 && r.Read(mmioMagic, 4) == mmioMagicValue {
		slots, gsi = many, secondAPICs
	}
	var found []Transport
	for i := range slots {
		if t, errno := openMMIO(m, base+uint64(i*step), step, gsi+uint32(i)); errno == 0 {
			found = append(found, t)
		}
	}
	return found
}
