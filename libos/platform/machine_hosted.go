//go:build !pith

package platform

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
)

// A test has no virtual machine below it. DMA memory is the test's own, and the
// test's device raises the interrupts.

// VM reports whether the instance is a virtual machine: never in a test.
func VM() bool { return false }

// DMA returns n bytes of page-aligned memory. phys is their address in the process.
func DMA(n int) (mem []byte, phys uint64, errno linux.Errno) {
	if HostedDMA != nil {
		return HostedDMA(n)
	}
	b := make([]byte, n+PageSize)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (PageSize - 1)
	mem = b[skip:][:n:n]
	hostedMu.Lock()
	hostedDMA = append(hostedDMA, b) // a test's devices find it by its address
	hostedMu.Unlock()
	return mem, uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))), 0
}

var hostedDMA [][]byte

// HostedDMA, when not nil, takes the place of DMA: a test sets it to return the
// memory of a virtual machine.
var HostedDMA func(n int) (mem []byte, phys uint64, errno linux.Errno)

// HostedForgetDMA drops this package's references to DMA memory and interrupts, for
// a test that opens very many devices.
func HostedForgetDMA() {
	hostedMu.Lock()
	hostedDMA, hostedMessages, hostedPins = nil, nil, map[uint32]*Interrupt{}
	hostedMu.Unlock()
}

// MapDevice always fails.
func MapDevice(phys uint64, n int) (uintptr, linux.Errno) { return 0, linux.ENODEV }

// MapFirmware always fails.
func MapFirmware(phys uint64, n int) ([]byte, linux.Errno) { return nil, linux.ENODEV }

// In8, In16 and In32 return what a port without a device does.
func In8(port uint16) uint8   { return 0xff }
func In16(port uint16) uint16 { return 0xffff }
func In32(port uint16) uint32 { return 0xffffffff }

// Out8, Out16 and Out32 do nothing.
func Out8(port uint16, v uint8)   {}
func Out16(port uint16, v uint16) {}
func Out32(port uint16, v uint32) {}

// Interrupt is an interrupt vector of a device.
type Interrupt struct {
	mu    sync.Mutex
	cond  *sync.Cond
	fired bool
}

// NewInterrupt allocates an interrupt.
func NewInterrupt() (*Interrupt, linux.Errno) {
	i := new(Interrupt)
	i.cond = sync.NewCond(&i.mu)
	return i, 0
}

// Message returns what the device passes to HostedMessage to raise the interrupt.
func (i *Interrupt) Message() (addr uint64, data uint32) {
	hostedMu.Lock()
	defer hostedMu.Unlock()
	hostedMessages = append(hostedMessages, i)
	return hostedMessageAddr, uint32(len(hostedMessages))
}

// Route has HostedPin(gsi) raise the interrupt.
func (i *Interrupt) Route(gsi uint32) linux.Errno {
	hostedMu.Lock()
	defer hostedMu.Unlock()
	hostedPins[gsi] = i
	return 0
}

// HostedMessage and HostedPin raise an interrupt for a test's device: by a message,
// or by an edge on a pin. One that no driver expects is lost.
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

// Wait parks the calling goroutine until the interrupt comes. It returns at once if
// the interrupt came since the last Wait. One goroutine waits.
func (i *Interrupt) Wait() {
	i.mu.Lock()
	for !i.fired {
		i.cond.Wait()
	}
	i.fired = false
	i.mu.Unlock()
}

// Fire raises the interrupt, as the device does. A driver ends its own Wait with it,
// when it shuts the device down or finds it broken.
func (i *Interrupt) Fire() {
	i.mu.Lock()
	i.fired = true
	i.mu.Unlock()
	i.cond.Signal()
}

// FirmwareTables returns 0: there is no firmware.
func FirmwareTables() uint64 { return 0 }

// SetPoweroff does nothing.
func SetPoweroff(port bool, addr uint64, value uint32) {}

// SetWalltime does nothing.
func SetWalltime(ns int64) {}

// PageRun is a run of free page frames.
type PageRun struct {
	Phys  uint64
	Pages int
}

// TakeFree finds no free page frames.
func TakeFree(runs []PageRun) int { return 0 }

// ReturnFree does nothing.
func ReturnFree(runs []PageRun) {}

// SetConsole does nothing: tests use the process's own standard streams.
func SetConsole(read func(p []byte) (int, linux.Errno), write func(fd int, p []byte) (int, linux.Errno)) {
}
