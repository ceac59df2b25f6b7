package acpi

// QEMU's microvm has a device for events at fixed addresses (hw/i386/microvm.c). Its
// tables describe it in byte code only. One register has the events, and reading clears
// them. Another one is the sleep control register.
const (
	microvmEvents = 0xfea00000
	microvmSleep  = 0xfea00200
	microvmIRQ    = 9
	microvmButton = 1 << 1
)

// reachable reports whether CPL 3 can access n bytes at p. Of the I/O ports these are
// those where hypervisors have their power management.
func reachable(p place, n int) bool {
	const first, last = 0x600, 0x67f
	return !p.ports || first <= p.addr && p.addr+uint64(n)-1 <= last
}
