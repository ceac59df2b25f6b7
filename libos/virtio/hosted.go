//go:build !pith

package virtio

import "github.com/pith-os/pith/libos/linux"

// HostedRegisters are those of a device of a test's machine.
type HostedRegisters = registers

// HostedMicrovm finds the devices of a test's microvm, whose registers are where
// m says.
func HostedMicrovm(m func(addr uint64, size int) (HostedRegisters, linux.Errno)) []Transport {
	return microvmDevices(m, true)
}
