// Package balloon implements the virtio memory balloon device (virtio 1.2
// §5.5). The guest gives memory that it does not need back to the host: on
// request of the host (SetPages), and on its own initiative (free page
// reporting).
package balloon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// featureReporting is VIRTIO_BALLOON_F_PAGE_REPORTING (§5.5.3). No second
// feature is needed for the contents: a reported page always reads as zeros
// afterwards.
const featureReporting = 1 << 5

// Queues (§5.5.2). The features of the device decide the number of the
// reporting queue: a device without statistics and free page hints has it
// third.
const (
	queueInflate = iota
	queueDeflate
	queueReports
	queueCount

	queueSize = 64
)

// Layout of the configuration (§5.5.4): num_pages[4] actual[4].
const (
	configPages  = 0
	configActual = 4
	configSize   = 8
)

const (
	pageSize = 4096 // unit of page numbers, whatever the page size of the guest (§5.5.6)
	// maxNumbers limits the page numbers in one buffer chain. Linux sends 256 at a
	// time, libos 1,024.
	maxNumbers = 1 << 16
)

// Device is a memory balloon.
type Device struct {
	mem     *virtqueue.Memory
	discard func(pages []byte) error

	workers []*device.Worker
	numbers [pageSize]byte // scratch buffer of inflate: page numbers copied out of guest memory

	mu     sync.Mutex
	config [configSize]byte
	bus    device.Bus // nil while the device is stopped
}

// New returns a balloon for the guest memory mem. discard gives whole pages of
// mem back to the host; the guest reads zeros when it uses them again. Discard
// is such a function.
func New(mem *virtqueue.Memory, discard func(pages []byte) error) *Device {
	return &Device{mem: mem, discard: discard}
}

// Discard gives pages of shared memory back to the host (MADV_REMOVE).
func Discard(pages []byte) error {
	return os.NewSyscallError("madvise", unix.Madvise(pages, unix.MADV_REMOVE))
}

// SetPages asks the guest for a balloon of n pages of 4 KiB in total. The guest
// inflates or deflates the balloon when it can.
func (d *Device) SetPages(n uint32) {
	d.mu.Lock()
	binary.LittleEndian.PutUint32(d.config[configPages:], n)
	bus := d.bus
	d.mu.Unlock()
	if bus != nil {
		bus.ConfigChanged()
	}
}

// Pages returns the current size of the balloon in pages of 4 KiB, as reported
// by the guest.
func (d *Device) Pages() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return binary.LittleEndian.Uint32(d.config[configActual:])
}

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDBalloon }

// Features implements device.Device.
func (d *Device) Features() uint64 { return device.FeaturesOfQueues | featureReporting }

// Queues implements device.Device.
func (d *Device) Queues() []int { return []int{queueSize, queueSize, queueSize} }

// Config implements device.Device.
func (d *Device) Config() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.config
	return c[:]
}

// SetConfig implements device.Device. The driver can write the field actual
// only.
func (d *Device) SetConfig(off int, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off >= configActual && off < configSize {
		copy(d.config[off:], p)
	}
}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	var workers [queueCount]*device.Worker
	for i, q := range queues {
		if q.Size == 0 || i == queueReports && features&featureReporting == 0 {
			continue
		}
		w, err := device.NewWorker(d.mem, q, features)
		if err != nil {
			return fmt.Errorf("queue %d: %w", i, err)
		}
		workers[i] = w
	}
	do := [queueCount]func(c *virtqueue.Chain) (int, error){
		queueInflate: d.inflate,
		// Deflating needs no work: the host allocates a page on its next use.
		queueDeflate: func(*virtqueue.Chain) (int, error) { return 0, nil },
		queueReports: d.report,
	}
	d.workers = nil
	for i, w := range workers {
		if w != nil {
			d.workers = append(d.workers, w)
			w.Run(bus, do[i])
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bus = bus
	return nil
}

// Stop implements device.Device. The balloon is empty afterwards.
func (d *Device) Stop() {
	for _, w := range d.workers {
		w.Stop()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bus = nil
	clear(d.config[configActual:])
}

// inflate discards the pages whose numbers are in c (§5.5.6.1). It discards
// each run of consecutive pages with one call.
func (d *Device) inflate(c *virtqueue.Chain) (int, error) {
	if c.OutLen > 4*maxNumbers {
		return 0, fmt.Errorf("the driver lies: %d bytes of page numbers", c.OutLen)
	}
	var first, pages uint64
	for _, b := range c.Out {
		for len(b) >= 4 {
			n := copy(d.numbers[:], b) &^ 3
			b = b[n:]
			for at := 0; at < n; at += 4 {
				page := uint64(binary.LittleEndian.Uint32(d.numbers[at:]))
				if page == first+pages {
					pages++
					continue
				}
				if err := d.take(first, pages); err != nil {
					return 0, err
				}
				first, pages = page, 1
			}
		}
	}
	return 0, d.take(first, pages)
}

// take discards a run of pages. It skips pages outside the memory of the
// balloon: the guest may name a page that something else owns, such as the
// image.
func (d *Device) take(first, pages uint64) error {
	mem, ok := d.mem.Slice(first*pageSize, pages*pageSize)
	if !ok && pages > 1 {
		// A page of the run is not in memory, or the run crosses the border of two
		// adjoining regions.
		if err := d.take(first, pages/2); err != nil {
			return err
		}
		return d.take(first+pages/2, pages-pages/2)
	}
	return d.drop(mem)
}

// report discards the reported pages in the buffers of c (§5.5.6.7).
func (d *Device) report(c *virtqueue.Chain) (int, error) {
	for _, b := range c.In {
		if err := d.drop(b); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

var errDiscard = errors.New("cannot give memory back to the host")

// drop discards the whole pages in mem.
func (d *Device) drop(mem []byte) error {
	const within = pageSize - 1
	before := int(-uintptr(unsafe.Pointer(unsafe.SliceData(mem))) & within)
	if n := (len(mem) - before) &^ within; n > 0 {
		if err := d.discard(mem[before:][:n:n]); err != nil {
			return fmt.Errorf("%w: %w", errDiscard, err)
		}
	}
	return nil
}
