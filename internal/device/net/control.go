package net

import (
	"encoding/binary"
	"errors"

	"github.com/pith-os/pith/internal/virtqueue"
)

// controlSize is the size of the control queue. Drivers send one command at a
// time.
const controlSize = 16

// Commands of the control queue (§5.1.6.5).
const (
	classMulti = 4 // VIRTIO_NET_CTRL_MQ
	setPairs   = 0 // VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET

	statusOK    = 0
	statusError = 1
)

// command handles one command: class u8, command u8, then its arguments. The
// device writes a status of one byte.
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
	if c.OutLen == len(b) && b[0] == classMulti && b[1] == setPairs && d.setPairs(int(binary.LittleEndian.Uint16(b[2:]))) {
		status = statusOK
	}
	c.In[0][0] = status
	return 1, nil
}

// setPairs enables the first n pairs of queues and disables the others
// (§5.1.6.5.5). If the driver has not set up all of the n pairs, it changes
// nothing and reports false.
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
			return false // watch reports the error
		}
	}
	return true
}
