// Package rng implements the virtio entropy device (virtio 1.2 §5.4). The
// entropy comes from getrandom(2) of the host.
package rng

import (
	"errors"
	"fmt"
	"os"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

const (
	queueSize = 8
	// maxAnswer is the maximum length of one answer, in bytes. A driver that wants
	// more asks again (§5.4.6.2).
	maxAnswer = 4096
)

// Device is an entropy device.
type Device struct {
	mem    *virtqueue.Memory
	worker *device.Worker
}

// New returns an entropy device for guest memory mem.
func New(mem *virtqueue.Memory) *Device { return &Device{mem: mem} }

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDEntropy }

// Features implements device.Device.
func (d *Device) Features() uint64 { return device.FeaturesOfQueues }

// Queues implements device.Device.
func (d *Device) Queues() []int { return []int{queueSize} }

// Config implements device.Device.
func (d *Device) Config() []byte { return nil }

// SetConfig implements device.Device.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) (err error) {
	if queues[0].Size == 0 {
		return errors.New("the driver has not set up the queue")
	}
	if d.worker, err = device.NewWorker(d.mem, queues[0], features); err != nil {
		return err
	}
	d.worker.Run(bus, answer)
	return nil
}

// Stop implements device.Device.
func (d *Device) Stop() { d.worker.Stop() }

// answer fills the buffers of c with up to maxAnswer random bytes.
func answer(c *virtqueue.Chain) (int, error) {
	n := 0
	for _, b := range c.In {
		b = b[:min(len(b), maxAnswer-n)]
		for len(b) > 0 {
			got, err := unix.Getrandom(b, 0)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return n, fmt.Errorf("cannot read entropy of the host: %w", os.NewSyscallError("getrandom", err))
			}
			got = max(got, 0) // it is -1 on error
			n, b = n+got, b[got:]
		}
	}
	if n == 0 {
		return 0, errors.New("the driver lies: no writable buffer for entropy")
	}
	return n, nil
}
