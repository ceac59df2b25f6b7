package net

import (
	"encoding/binary"
	"errors"

	"github.com/pith-os/pith/internal/virtqueue"
)

// controlSize is that of the control queue: one command at a time is usual.
const controlSize = 16

// Commands of the control queue (§5.1.6.5).
const (
	classQueues = 4 // VIRTIO_NET_CTRL_MQ
	setPairs    = 0 // VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET

	statusOK    = 0
	statusError = 1
)

// command obeys a command: class u8, command u8 and what belongs to it; the
// device writes one byte.
func (d *Device) command(c *virtqueue.Chain) (written int, err error) {
	if c.InLen == 0 {
		return 0, errors.New("the driver lies: a command without room for an answer")
	}
	var b [4]byte
	n := 0
	for _, p := range c.Out {
		n += copy(b[n:], p)
	}
	status := byte(statusError)
	if c.OutLen == len(b) && b[0] == classQueues && b[1] == setPairs && d.setPairs(int(binary.LittleEndian.Uint16(b[2:]))) {
		status = statusOK
	}
	c.In[0][0] = status
	return 1, nil
}

// setPairs has the device use the first n pairs of queues (§5.1.6.5.5). It
// reports false, and changes nothing, if the driver has not set them up.
func (d *Device) setPairs(n int) bool {
	pairs := len(d.running) / 2
	if n < 1 || n > pairs {
		return false
	}
	for i := range n {
		if d.running[2*i].Size == 0 {
			return false
		}
	}
	for i := range pairs {
		if d.running[2*i].Size == 0 {
			continue
		}
		if d.path.enable(i, i < n) != nil {
			return false // watch says what happened
		}
	}
	return true
}
