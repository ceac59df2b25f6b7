//go:build !pith

package platform

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// A test has no machine below it: memory is its own, and interrupts are what
// it fires itself.

// VM says whether the instance is a virtual machine, not a confined process.
func VM() bool { return false }

// DMA gives n bytes of memory that devices can reach: zeroed, page-aligned,
// contiguous for them too, the instance's for good. phys is its address for
// devices.
func DMA(n int) (mem []byte, phys uint64, errno linux.Errno) {
	if HostedDMA != nil {
		return HostedDMA(n)
	}
	b := make([]byte, n+PageSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (PageSize - 1)
	mem = b[skip:][:n:n]
	hostedMu.Lock()
	hostedDMA = append(hostedDMA, b) // devices of a test find it by its address
	hostedMu.Unlock()
	return mem, uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))), 0
}

var hostedDMA [][]byte

// HostedDMA, when not nil, gives the memory of a test's machine, for DMA.
var HostedDMA func(n int) (mem []byte, phys uint64, errno linux.Errno)

// HostedForgetDMA lets the memory that DMA gave go with its last user, and
// interrupts with theirs, for a test that opens devices without end.
func HostedForgetDMA() {
	hostedMu.Lock()
	hostedDMA, hostedMessages, hostedPins = nil, nil, map[uint32]*Interrupt{}
	hostedMu.Unlock()
}

// MapDevice maps n bytes of a device's registers, which are no memory, for
// uncached access.
func MapDevice(phys uint64, n int) (uintptr, linux.Errno) { return 0, linux.ENODEV }

// MapFirmware maps n bytes of what the firmware left in memory (ACPI tables),
// to be read only.
func MapFirmware(phys uint64, n int) ([]byte, linux.Errno) { return nil, linux.ENODEV }

// In8, In16 and In32 read an I/O port. The machine lets the library OS reach
// the ports of PCI configuration, ACPI and the serial line alone.
func In8(port uint16) uint8   { return 0xff }
func In16(port uint16) uint16 { return 0xffff }
func In32(port uint16) uint32 { return 0xffffffff }

// Out8, Out16 and Out32 write an I/O port.
func Out8(port uint16, v uint8)   {}
func Out16(port uint16, v uint16) {}
func Out32(port uint16, v uint32) {}

// Interrupt is an interrupt vector of a device.
type Interrupt struct {
	mu    sync.Mutex
	cond  *sync.Cond
	fired bool
}

// NewInterrupt gives a vector of its own; ENOSPC when there are no more.
func NewInterrupt() (*Interrupt, linux.Errno) {
	i := new(Interrupt)
	i.cond = sync.NewCond(&i.mu)
	return i, 0
}

// Message is what the device writes to raise the interrupt, the address and
// the data of a message-signalled interrupt (PCI 3.0 §6.8).
func (i *Interrupt) Message() (addr uint64, data uint32) {
	hostedMu.Lock()
	defer hostedMu.Unlock()
	hostedMessages = append(hostedMessages, i)
	return hostedMessageAddr, uint32(len(hostedMessages))
}

// Route has pin gsi of the I/O APIC raise the interrupt, at each edge: who waits
// ends the cause and then looks again.
func (i *Interrupt) Route(gsi uint32) linux.Errno {
	hostedMu.Lock()
	defer hostedMu.Unlock()
	hostedPins[gsi] = i
	return 0
}

// HostedMessage and HostedPin are how a test's device raises an interrupt: it
// sends a message, or an edge on a pin. What nobody expects is lost.
func HostedMessage(addr uint64, data uint32) {
	hostedMu.Lock()
	var i *Interrupt
	if n := uint64(data) - 1; addr == hostedMessageAddr && n < uint64(len(hostedMessages)) {
		i = hostedMessages[n]
	}
	hostedMu.Unlock()
	i.raise()
}

func HostedPin(gsi uint32) {
	hostedMu.Lock()
	i := hostedPins[gsi]
	hostedMu.Unlock()
	i.raise()
}

func (i *Interrupt) raise() {
	if i != nil {
		i.Fire()
	}
}

const hostedMessageAddr = 0xfee00000

var (
	hostedMessages []*Interrupt // by data of the message, from 1 on
	hostedPins     = map[uint32]*Interrupt{}
)

// Wait parks the calling goroutine until the interrupt fires, or returns at
// once when it has since the last Wait. One goroutine may wait.
func (i *Interrupt) Wait() {
	i.mu.Lock()
	for !i.fired {
		i.cond.Wait()
	}
	i.fired = false
	i.mu.Unlock()
}

// Fire raises the interrupt from here, as the device would: a driver ends its
// own Wait by it, when it shuts the device down or finds it broken.
func (i *Interrupt) Fire() {
	i.mu.Lock()
	i.fired = true
	i.mu.Unlock()
	i.cond.Signal()
}

// FirmwareTables is the physical address of the ACPI root pointer (RSDP), or 0.
func FirmwareTables() uint64 { return 0 }

// SetPoweroff says what switches the machine off, when the program has ended and
// the monitor leaves that to the machine: two bytes written to an I/O port, or
// one to a device's memory.
func SetPoweroff(port bool, addr uint64, value uint32) {}

// SetWalltime sets the clock to ns nanoseconds since the Unix epoch.
func SetWalltime(ns int64) {}

// PageRun is a run of free page frames.
type PageRun struct {
	Phys  uint64
	Pages int
}

// TakeFree takes free page frames away from the machine, for them to be given
// to the host: as many runs as fit, and returns their number.
func TakeFree(runs []PageRun) int { return 0 }

// ReturnFree gives frames back that TakeFree took.
func ReturnFree(runs []PageRun) {}

// SetConsole has the console be read and written by a driver: ConsoleRead and
// ConsoleWrite call these from then on. write returns when the device has
// taken all of p. read parks the goroutine until there is input; 0 is its end.
func SetConsole(read func(p []byte) (int, linux.Errno), write func(fd int, p []byte) (int, linux.Errno)) {
}
