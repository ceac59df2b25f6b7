package console

import (
	"encoding/binary"
	"fmt"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"
)

// Events of control messages (§5.3.6.2).
const (
	eventDeviceReady = 0
	eventPortAdd     = 1
	eventPortRemove  = 2
	eventPortReady   = 3
	eventResize      = 5
	eventPortOpen    = 6
	eventPortName    = 7
)

// headerSize is the size of struct virtio_console_control: id[4] event[2]
// value[2].
const headerSize = 8

// news is a set of control messages about a port that are yet to be sent to the
// driver. A set, in contrast to a queue of messages, has a bounded size.
type news uint8

// In the order of sending. The device sends a message of one kind for all ports
// before those of the next kind. A driver may continue once it knows the name
// of a port, and must then know all ports and the window size.
const (
	newsAdded news = 1 << iota
	newsRemoved
	newsWindow
	newsName
	newsState
	newsEnd
)

// post adds n to the pending messages of p. The caller holds d.mu.
func (d *Device) post(p *port, n news) {
	p.news |= n
	d.news.Signal()
}

// sendAll sends pending control messages until the device is stopped.
func (d *Device) sendAll(w *device.Worker) error {
	var c virtqueue.Chain
	var buf []byte
	for {
		more, err := d.sendPending(w.Queue(), &c, &buf)
		if err != nil {
			return err
		}
		w.Flush()
		if !more && !w.Wait() {
			return nil
		}
	}
}

// sendPending sends pending control messages while the driver has buffers. If
// the buffers run out, either the driver will notify the device of more, or
// more reports that they are already there.
func (d *Device) sendPending(q *virtqueue.Queue, c *virtqueue.Chain, buf *[]byte) (more bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		p, n := d.next()
		if p == nil {
			return false, nil
		}
		ok, err := q.Pop(c)
		if err != nil {
			return false, err
		}
		if !ok {
			return q.EnableNotify(), nil
		}
		p.news &^= n
		*buf = d.message((*buf)[:0], p, n)
		if c.InLen < len(*buf) {
			return false, fmt.Errorf("the driver lies: a buffer of %d bytes for a control message of %d", c.InLen, len(*buf))
		}
		rest := *buf
		for _, to := range c.In {
			rest = rest[copy(to, rest):]
		}
		q.Push(c, len(*buf))
	}
}

// next returns the message to send next. The port is nil if no message is
// pending.
func (d *Device) next() (*port, news) {
	for n := newsAdded; n < newsEnd; n <<= 1 {
		for _, p := range d.ports {
			if p.news&n != 0 {
				return p, n
			}
		}
	}
	return nil, 0
}

// message appends the control message n about p to b.
func (d *Device) message(b []byte, p *port, n news) []byte {
	var event, value uint16
	switch n {
	case newsAdded:
		event = eventPortAdd
	case newsRemoved:
		event = eventPortRemove
	case newsWindow:
		event = eventResize
	case newsName:
		event, value = eventPortName, 1
	case newsState:
		event = eventPortOpen
		if p.state == stateOpen {
			value = 1
		}
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(p.id))
	b = binary.LittleEndian.AppendUint16(b, event)
	b = binary.LittleEndian.AppendUint16(b, value)
	switch n {
	case newsWindow:
		b = binary.LittleEndian.AppendUint16(b, d.cols)
		b = binary.LittleEndian.AppendUint16(b, d.rows)
	case newsName:
		b = append(b, p.Name...)
	}
	return b
}

// handleControl handles a control message of the driver. It ignores an invalid
// message.
func (d *Device) handleControl(c *virtqueue.Chain) (int, error) {
	var m [headerSize]byte
	n := 0
	for _, from := range c.Out {
		n += copy(m[n:], from)
	}
	if n < headerSize {
		return 0, nil
	}
	id := binary.LittleEndian.Uint32(m[0:])
	event, value := binary.LittleEndian.Uint16(m[4:]), binary.LittleEndian.Uint16(m[6:])
	d.mu.Lock()
	defer d.mu.Unlock()
	if event == eventDeviceReady {
		for _, p := range d.ports {
			if value == 1 && !p.added {
				p.added = true
				d.post(p, newsAdded)
			}
		}
		return 0, nil
	}
	if id >= uint32(len(d.ports)) {
		return 0, nil
	}
	p := d.ports[id]
	switch {
	case !p.added:
	case event == eventPortReady && value == 1:
		p.ready = true
		d.post(p, newsName|newsState)
		if p.Window && d.cols|d.rows != 0 {
			d.post(p, newsWindow)
		}
	case event == eventPortOpen:
		p.wanted.Store(value == 1)
		p.receiveKick.Signal()
	}
	return 0, nil
}
