package net

import (
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Commands of the control queue (§5.1.6.5).
const (
	classQueues = 4 // VIRTIO_NET_CTRL_MQ
	setPairs    = 0 // VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET
	statusOK    = 0 // VIRTIO_NET_OK
)

// commandTimeout is how long the device may take for a command, in nanoseconds.
const commandTimeout = 5e9

// control is the control queue.
type control struct {
	dev *virtio.Device
	q   *virtio.Queue
	mem virtio.Buffer
}

// newControl sets queue i up as the control queue.
func newControl(dev *virtio.Device, i int) (*control, linux.Errno) {
	q, errno := dev.NewQueue(i, 4)
	if errno != 0 {
		return nil, errno
	}
	mem, errno := virtio.Alloc(64)
	return &control{dev, q, mem}, errno
}

// setPairs sets the number of queue pairs that the device uses (§5.1.6.5.5).
func (c *control) setPairs(n int) linux.Errno {
	command, status := c.mem.Slice(0, 4), c.mem.Slice(4, 5)
	copy(command.Mem, []byte{classQueues, setPairs, byte(n), byte(n >> 8)})
	status.Mem[0] = ^byte(statusOK)
	if !c.q.Add([]virtio.Buffer{command}, []virtio.Buffer{status}, 0) {
		return linux.EIO
	}
	c.q.Kick()
	late := platform.AfterFunc(commandTimeout, func() { c.dev.Fail("it does not answer a command on the control queue") })
	defer late.Stop()
	for {
		if _, _, ok := c.q.Take(); ok {
			break
		}
		if !c.q.Wait() {
			return linux.EIO
		}
	}
	if status.Mem[0] != statusOK {
		return linux.EOPNOTSUPP
	}
	return 0
}
