// Package acpi finds the VM's power button and its power-off in the firmware's tables.
// A press of the button is SIGTERM for the program. The package does not interpret byte
// code (AML). Package machine starts it. It stands on package platform.
//
// Section numbers are those of ACPI 6.4.
package acpi

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/register"
)

// The fixed description table, FADT (§5.2.9).
const (
	fadtDSDT         = 40
	fadtSCI          = 46
	fadtPM1Event     = 56
	fadtPM1Control   = 64
	fadtPM1EventLen  = 88
	fadtFlags        = 112
	fadtXDSDT        = 140
	fadtXPM1Event    = 148
	fadtXPM1Control  = 172
	fadtSleepControl = 244

	flagButtonInByteCode = 1 << 4  // the power button is not fixed hardware
	flagReduced          = 1 << 20 // there is no fixed hardware
)

// Bits of the fixed hardware (§4.8.3).
const (
	pm1Button  = 1 << 8 // in the status and in the enable register
	sleepShift = 10     // in the PM1 control register
	sleepNow   = 1 << 13
)

// Values of the sleep control register (§4.8.3.7), with the sleep type of QEMU, Cloud
// Hypervisor and Firecracker.
const (
	softOff      = 5
	reducedShift = 2
	reducedNow   = 1 << 5
)

// machine is what the tables say about the VM.
type machine struct {
	button *button // nil: none is known
	off    *off    // nil: none is known
}

// button is a power button.
type button struct {
	at      place // where its registers are
	size    int
	pin     uint32 // input of the interrupt controller (I/O APIC)
	arm     func(f register.File)
	pressed func(f register.File) bool // reports whether it was pressed since the last call
}

// off is the write that powers the VM off: two bytes to a port, or one to memory.
type off struct {
	at    place
	value uint32
}

// Start makes a press of the power button SIGTERM for the program, and makes the VM power
// off when the program ends.
func Start() linux.Errno {
	m := read(platform.MapFirmware, platform.FirmwareTables())
	if o := m.off; o != nil {
		platform.SetPoweroff(o.at.ports, o.at.addr, o.value)
	}
	b := m.button
	if b == nil {
		return 0
	}
	f, errno := b.at.open(b.size)
	if errno != 0 {
		return errno
	}
	irq, errno := platform.NewInterrupt()
	if errno != 0 {
		return errno
	}
	if errno := irq.Route(b.pin); errno != 0 {
		return errno
	}
	b.arm(f)
	go b.watch(f, irq, func() { platform.Raise(linux.SIGTERM) })
	return 0
}

// watch calls fn at each press of the button. It never returns.
func (b *button) watch(f register.File, irq *platform.Interrupt, fn func()) {
	for {
		if b.pressed(f) {
			fn()
		}
		irq.Wait()
	}
}

func (p place) open(n int) (register.File, linux.Errno) {
	if p.ports {
		return register.Ports(p.addr), 0
	}
	return register.Map(p.addr, n)
}

// read reads the tables, beginning at the root pointer.
func read(m memory, rsdp uint64) machine {
	tables := m.find(rsdp, "FACP", "APIC")
	fadt, madt := tables[0], tables[1]
	if fadt == nil {
		return machine{}
	}
	if fadt.u32(fadtFlags)&flagReduced != 0 {
		return reduced(fadt, madt)
	}
	var found machine
	event, ok := fadt.fixed(fadtXPM1Event, fadtPM1Event)
	if half := int(fadt.u8(fadtPM1EventLen)) / 2; ok && half >= 2 && fadt.u32(fadtFlags)&flagButtonInByteCode == 0 &&
		reachable(event, 2*half) {
		found.button = fixedButton(event, half, pinOf(madt, uint8(fadt.u16(fadtSCI))))
	}
	if control, ok := fadt.fixed(fadtXPM1Control, fadtPM1Control); ok && reachable(control, 2) {
		dsdt := fadt.u64(fadtXDSDT)
		if dsdt == 0 {
			dsdt = uint64(fadt.u32(fadtDSDT))
		}
		signature, code := m.load(dsdt)
		if kind, ok := sleepType(code); ok && signature == "DSDT" {
			found.off = &off{control, uint32(kind)<<sleepShift | sleepNow}
		}
	}
	return found
}

// reduced reads the tables of a VM without fixed hardware.
func reduced(fadt, madt table) machine {
	sleep, ok := fadt.place(fadtSleepControl)
	if !ok || !reachable(sleep, 1) {
		return machine{}
	}
	found := machine{off: &off{sleep, softOff<<reducedShift | reducedNow}}
	if sleep == (place{addr: microvmSleep}) {
		found.button = &button{
			at:      place{addr: microvmEvents},
			size:    4,
			pin:     pinOf(madt, microvmIRQ),
			arm:     func(register.File) {},
			pressed: func(f register.File) bool { return f.Read(0, 4)&microvmButton != 0 },
		}
	}
	return found
}

// fixedButton is the button in the PM1 event registers. The status register is at event,
// the enable register half bytes behind it. The interrupt line is up while an enabled
// status bit is set.
func fixedButton(event place, half int, pin uint32) *button {
	return &button{
		at:   event,
		size: 2 * half,
		pin:  pin,
		arm: func(f register.File) {
			f.Write(0, 2, pm1Button)
			f.Write(half, 2, pm1Button)
		},
		pressed: func(f register.File) bool {
			pressed := f.Read(0, 2)&pm1Button != 0
			if pressed {
				f.Write(0, 2, pm1Button) // writing ones clears it
			}
			return pressed
		},
	}
}

// fixed returns the place of a block of fixed hardware: the generic address, or in older
// tables the port.
func (t table) fixed(generic, port int) (place, bool) {
	p, ok := t.place(generic)
	if !ok {
		p = place{true, uint64(t.u32(port))}
	}
	return p, p.addr != 0
}
