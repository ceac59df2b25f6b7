package virtio

import (
	"testing"

	"github.com/pith-os/pith/libos/linux"
)

// CaptureReports gives the lines that go to the console, the first of them.
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

// Impatient has devices that do not reset be given up at once.
func Impatient() { longestReset = 0 }

// What tests put below the transports.
type (
	Registers = registers
	Function  = function
	PCIConfig = pciConfig
	Mapper    = func(addr uint64, size int) (registers, linux.Errno)
)

func NamedDevices(words []string, m Mapper) []Transport {
	found, _ := namedDevices(words, m)
	return found
}

func MicrovmDevices(m Mapper, acpi bool) []Transport { return microvmDevices(m, acpi) }

func PCIDevices(c PCIConfig, m Mapper) []Transport { return pciDevices(c, m) }
