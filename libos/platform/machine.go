//go:build pith

package platform

import (
	"sync/atomic"
	"unsafe"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
)

// VM says whether the instance is a virtual machine, not a confined process.
func VM() bool

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

// DMA returns n bytes of memory that devices can reach: zeroed, page-aligned, and
// contiguous for devices too. phys is the guest-physical address. The memory is
// never freed.
func DMA(n int) (mem []byte, phys uint64, errno linux.Errno) {
	addr, errno := result(hostCall(platformDMA, pagesOf(n), uintptr(unsafe.Pointer(&phys)), 0, 0, 0, 0))
	if errno != 0 {
		return nil, 0, errno
	}
	return unsafe.Slice((*byte)(Pointer(addr)), n), phys, 0
}

// MapDevice maps n bytes of device registers at guest-physical address phys, for
// uncached access.
func MapDevice(phys uint64, n int) (uintptr, linux.Errno) {
	return mapAt(platformDevice, phys, n)
}

// MapFirmware maps n bytes that the firmware left at guest-physical address phys,
// such as ACPI tables, read-only.
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

// Interrupt is an interrupt vector of a device.
type Interrupt struct {
	vector uint32
	pd     unsafe.Pointer
}

var vectorsUsed atomic.Uint32

// NewInterrupt allocates an interrupt vector; ENOSPC if none is left.
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

// Wait parks the calling goroutine until the interrupt fires, or returns at
// once when it has since the last Wait. One goroutine may wait.
func (i *Interrupt) Wait() { hostPollWait(i.pd, 'r') }

// Fire raises the interrupt from here, as the device would: a driver ends its
// own Wait by it, when it shuts the device down or finds it broken.
func (i *Interrupt) Fire() { hostCall(platformFire, uintptr(i.vector), 0, 0, 0, 0, 0) }

// FirmwareTables returns the guest-physical address of the ACPI root pointer
// (RSDP), or 0.
func FirmwareTables() uint64

// SetPoweroff tells the nucleus what switches the virtual machine off after the
// program: two bytes to an I/O port, or one byte to guest-physical address addr. Our
// own monitor needs neither.
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

// TakeFree takes free page frames out of use, to report them to the host. It fills
// runs and returns how many it filled. It gives each run once, until the virtual
// machine has used it again.
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

// ReturnFree gives back page frames that TakeFree took.
func ReturnFree(runs []PageRun) {
	for _, r := range runs {
		hostCall(platformGive, uintptr(r.Phys/PageSize), uintptr(r.Pages), 0, 0, 0, 0)
	}
}

// SetConsole sets the console driver: ConsoleRead and ConsoleWrite call read and
// write from then on. write returns when the device has taken all of p. read parks
// the goroutine until there is input; 0 is its end.
func SetConsole(read func(p []byte) (int, linux.Errno), write func(fd int, p []byte) (int, linux.Errno)) {
	consoleRead, consoleWrite = read, write
}

var (
	consoleRead  func(p []byte) (int, linux.Errno)
	consoleWrite func(fd int, p []byte) (int, linux.Errno)
)
