//go:build !pith

package virtio

import "github.com/pith-os/pith/libos/linux"

// HostedRegisters are the registers of a device in a test's VM.
type HostedRegisters = registers

// HostedMicrovm finds the devices of a test's microvm, whose registers m maps.
func HostedMicrovm(m func(addr uint64, size int) (HostedRegisters, linux.Errno)) []Transport {
	return microvmDevices(m, true)
}
