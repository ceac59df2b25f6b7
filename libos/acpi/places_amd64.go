package acpi

// QEMU's microvm has its events in registers of a device that the byte code
// describes, in a fixed place (hw/i386/microvm.c): one that tells what has
// happened and forgets it, and one to sleep.
const (
	microvmEvents = 0xfea00000
	microvmSleep  = 0xfea00200
	microvmIRQ    = 9
	microvmButton = 1 << 1
)

// reachable reports whether the machine lets us reach n bytes at p: of ports, only
// those where hypervisors have their power management.
func reachable(p place, n int) bool {
	const first, last = 0x600, 0x67f
	return !p.ports || first <= p.addr && p.addr+uint64(n)-1 <= last
}
