// Package rng drives virtio's entropy device (virtio 1.2 §5.4). Package entropy
// reads from it.
package rng

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
)

// Device is an entropy device.
type Device struct {
	dev   *virtio.Device
	queue *virtio.Queue

	mu  sync.Mutex // serialises requests
	buf virtio.Buffer
	in  [1]virtio.Buffer
}

const (
	requests = 2  // size of the queue, the smallest there is
	request  = 64 // bytes requested at once
)

// Open starts the device of t.
func Open(t virtio.Transport) (*Device, linux.Errno) {
	dev, errno := virtio.Open(t, 0)
	if errno != 0 {
		return nil, errno
	}
	d := &Device{dev: dev}
	if d.queue, errno = dev.NewQueue(0, requests); errno != 0 {
		return nil, errno
	}
	if d.buf, errno = virtio.Alloc(request); errno != 0 {
		return nil, errno
	}
	return d, dev.Start()
}

// Read fills p from the device, however long that takes. It returns EIO if the
// device is broken.
func (d *Device) Read(p []byte) linux.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(p) > 0 {
		d.in[0] = d.buf.Slice(0, min(len(p), request))
		if !d.queue.Add(nil, d.in[:], 0) {
			return linux.EIO
		}
		d.queue.Kick()
		n, errno := d.take()
		if errno != 0 {
			return errno
		}
		copy(p, d.buf.Mem[:n])
		clear(d.buf.Mem) // keep the entropy secret
		p = p[n:]
	}
	return 0
}

// take waits for the reply and returns its length.
func (d *Device) take() (int, linux.Errno) {
	for d.queue.Wait() {
		_, n, ok := d.queue.Take()
		if ok && n == 0 {
			d.dev.Fail("it returned no entropy (virtio 1.2 §5.4.6.2)")
		} else if ok {
			return n, 0
		}
	}
	return 0, linux.EIO
}

// Shutdown stops the device.
func (d *Device) Shutdown() { d.dev.Shutdown() }
