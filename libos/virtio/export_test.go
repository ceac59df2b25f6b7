package virtio

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
)

// CaptureReports returns the lines that would go to the console.
func CaptureReports(t testing.TB) <-chan string {
	lines := make(chan string, 64)
	old := report
	report = func(line string) {
		select {
		case lines <- line:
		default:
		}
	}
	t.Cleanup(func() { report = old })
	return lines
}

// Impatient sets the timeout for device resets to 0.
func Impatient() { longestReset = 0 }

// What tests provide below the transports.
type (
	Registers = registers
	Function  = function
	PCIConfig = pciConfig
	Mapper    = func(addr uint64, size int) (registers, linux.Errno)
)

func NamedDevices(params []string, m Mapper) []Transport {
	found, _ := namedDevices(params, m)
	return found
}

func MicrovmDevices(m Mapper, acpi bool) []Transport { return microvmDevices(m, acpi) }

func PCIDevices(c PCIConfig, m Mapper) []Transport { return pciDevices(c, m) }
