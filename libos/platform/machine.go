//go:build pith

package platform

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
)

// VM says whether the instance is a virtual machine, not a confined process.
func VM() bool

func portIn(port uint16, size int) uint32
func portOut(port uint16, size int, v uint32)
func machineHas() (cpus int, memory uint64)

// fillIn completes the boot parameters by what the machine has.
func fillIn(c *boot.Config) {
	if !VM() {
		return
	}
	c.PID = 1
	cpus, memory := machineHas()
	c.CPUs = cpus
	if c.Memory == 0 || c.Memory > memory {
		c.Memory = memory
	}
}

func pagesOf(n int) uintptr { return uintptr(n+PageSize-1) / PageSize }

// DMA gives n bytes of memory that devices can reach: zeroed, page-aligned,
// contiguous for them too, the instance's for good. phys is its address for
// devices.
func DMA(n int) (mem []byte, phys uint64, errno linux.Errno) {
	addr, errno := result(hostCall(platformDMA, pagesOf(n), uintptr(unsafe.Pointer(&phys)), 0, 0, 0, 0))
	if errno != 0 {
		return nil, 0, errno
	}
	return unsafe.Slice((*byte)(Pointer(addr)), n), phys, 0
}

// MapDevice maps n bytes of a device's registers, which are no memory, for
// uncached access.
func MapDevice(phys uint64, n int) (uintptr, linux.Errno) {
	return mapAt(platformDevice, phys, n)
}

// MapFirmware maps n bytes of what the firmware left in memory (ACPI tables),
// to be read only.
func MapFirmware(phys uint64, n int) ([]byte, linux.Errno) {
	addr, errno := mapAt(platformFirmware, phys, n)
	if errno != 0 {
		return nil, errno
	}
	return unsafe.Slice((*byte)(Pointer(addr)), n), 0
}

func mapAt(call uintptr, phys uint64, n int) (uintptr, linux.Errno) {
	within := uintptr(phys) % PageSize
	if n <= 0 || phys+uint64(n) < phys {
		return 0, linux.EINVAL
	}
	addr, errno := result(hostCall(call, uintptr(phys)-within, pagesOf(int(within)+n), 0, 0, 0, 0))
	return addr + within, errno
}

// In8, In16 and In32 read an I/O port. The machine lets the library OS reach
// the ports of PCI configuration, ACPI and the serial line alone.
func In8(port uint16) uint8   { return uint8(portIn(port, 1)) }
func In16(port uint16) uint16 { return uint16(portIn(port, 2)) }
func In32(port uint16) uint32 { return portIn(port, 4) }

// Out8, Out16 and Out32 write an I/O port.
func Out8(port uint16, v uint8)   { portOut(port, 1, uint32(v)) }
func Out16(port uint16, v uint16) { portOut(port, 2, uint32(v)) }
func Out32(port uint16, v uint32) { portOut(port, 4, v) }

// Interrupt is an interrupt vector of a device.
type Interrupt struct {
	vector uint32
	pd     unsafe.Pointer
}

// Vectors of devices, and the descriptors that the poller knows them by.
const (
	firstVector = 0x30
	lastVector  = 0x6f
	irqFD       = 1000
)

var vectorsUsed atomic.Uint32

// NewInterrupt gives a vector of its own; ENOSPC when there are no more.
func NewInterrupt() (*Interrupt, linux.Errno) {
	v := firstVector + vectorsUsed.Add(1) - 1
	if v > lastVector {
		return nil, linux.ENOSPC
	}
	pd, errno := hostPollOpen(int(irqFD + v))
	if errno != 0 {
		return nil, linux.Errno(errno)
	}
	return &Interrupt{vector: v, pd: pd}, 0
}

// Message is what the device writes to raise the interrupt, the address and
// the data of a message-signalled interrupt (PCI 3.0 §6.8): the first CPU takes
// it.
func (i *Interrupt) Message() (addr uint64, data uint32) { return 0xfee00000, i.vector }

// Route has pin gsi of the I/O APIC raise the interrupt, at each edge: who waits
// ends the cause and then looks again.
func (i *Interrupt) Route(gsi uint32) linux.Errno {
	// 82093AA §3.2; a second one serves the pins behind the first's.
	const base, stride, pins = 0xfec00000, 0x10000, 24
	apics.Lock()
	defer apics.Unlock()
	n := gsi / pins
	if n >= uint32(len(apics.at)) {
		return linux.EINVAL
	}
	if apics.at[n] == 0 {
		addr, errno := MapDevice(base+stride*uint64(n), PageSize)
		if errno != 0 {
			return errno
		}
		apics.at[n] = addr
	}
	write := func(reg, v uint32) {
		atomic.StoreUint32((*uint32)(Pointer(apics.at[n])), reg)
		atomic.StoreUint32((*uint32)(Pointer(apics.at[n]+0x10)), v)
	}
	entry := 0x10 + gsi%pins*2
	write(entry+1, 0) // to the first CPU
	write(entry, i.vector)
	return 0
}

var apics struct {
	sync.Mutex
	at [2]uintptr
}

// Wait parks the calling goroutine until the interrupt fires, or returns at
// once when it has since the last Wait. One goroutine may wait.
func (i *Interrupt) Wait() { hostPollWait(i.pd, 'r') }

// Fire raises the interrupt from here, as the device would: a driver ends its
// own Wait by it, when it shuts the device down or finds it broken.
func (i *Interrupt) Fire() { hostCall(platformFire, uintptr(i.vector), 0, 0, 0, 0, 0) }

// FirmwareTables is the physical address of the ACPI root pointer (RSDP), or 0.
func FirmwareTables() uint64

// SetPoweroff says what switches the machine off, when the program has ended and
// the monitor leaves that to the machine: two bytes written to an I/O port, or
// one to a device's memory.
func SetPoweroff(port bool, addr uint64, value uint32) {
	kind := uintptr(0)
	if port {
		kind = 1
	}
	hostCall(platformPower, kind, uintptr(addr), uintptr(value), 0, 0, 0)
}

// SetWalltime sets the clock to ns nanoseconds since the Unix epoch.
func SetWalltime(ns int64) { hostCall(platformSetWall, uintptr(ns), 0, 0, 0, 0, 0) }

// PageRun is a run of free page frames.
type PageRun struct {
	Phys  uint64
	Pages int
}

// TakeFree takes free page frames away from the machine, for them to be given
// to the host: as many runs as fit, and returns their number. It gives each run
// once, until the machine has used it again.
func TakeFree(runs []PageRun) int {
	from := uintptr(0)
	for i := range runs {
		r := hostCall(platformTake, from, 0, 0, 0, 0, 0)
		first, count := r>>24, r&(1<<24-1)
		if count == 0 {
			return i
		}
		runs[i] = PageRun{uint64(first) * PageSize, int(count)}
		from = first + count
	}
	return len(runs)
}

// ReturnFree gives frames back that TakeFree took.
func ReturnFree(runs []PageRun) {
	for _, r := range runs {
		hostCall(platformGive, uintptr(r.Phys/PageSize), uintptr(r.Pages), 0, 0, 0, 0)
	}
}

// SetConsole has the console be read and written by a driver: ConsoleRead and
// ConsoleWrite call these from then on. write returns when the device has
// taken all of p. read parks the goroutine until there is input; 0 is its end.
func SetConsole(read func(p []byte) (int, linux.Errno), write func(fd int, p []byte) (int, linux.Errno)) {
	consoleRead, consoleWrite = read, write
}

var (
	consoleRead  func(p []byte) (int, linux.Errno)
	consoleWrite func(fd int, p []byte) (int, linux.Errno)
)
