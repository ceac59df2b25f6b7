// Package console drives a virtio console (virtio 1.2 §5.3). Its ports carry
// bytes in both directions, and have names if the device has several. The
// package stands on package virtio; package machine assigns the ports.
//
// Nothing is taken from a port that nobody reads. A write returns when the
// device has used the buffer. Written data are therefore not lost when the VM
// ends, and keep their order relative to later writes to another port.
package console

import (
	"strconv"
	"strings"
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Features (virtio 1.2 §5.3.3).
const (
	featureSize      = 1 << 0
	featureMultiport = 1 << 1
)

// Fields of the configuration (§5.3.4).
const (
	configCols     = 0
	configRows     = 2
	configMaxPorts = 4
)

// maxPorts is how many ports of a device are used at most.
const maxPorts = 8

// Queues of port 0 and of control messages (§5.3.2). Port n>0 has queues 2+2n
// and 3+2n.
const (
	queueIn         = 0
	queueOut        = 1
	queueControlIn  = 2
	queueControlOut = 3
)

// queueSize is the size of a port's queues. One buffer is in flight, but a
// device may keep some forever.
const queueSize = 8

// Console is a device and its ports.
type Console struct {
	dev     *virtio.Device
	ports   []*Port
	control *control // nil: the device has only port 0

	// Resized is called when the window size of a port has changed. It may be nil,
	// and must be set before Start.
	Resized func()
}

// Open opens the device of t. Its ports are known after Start.
func Open(t virtio.Transport) (*Console, linux.Errno) {
	dev, errno := virtio.Open(t, featureSize|featureMultiport)
	if errno != 0 {
		return nil, errno
	}
	c := &Console{dev: dev}
	n := 1
	if dev.Has(featureMultiport) {
		c.control = new(control)
		n = int(min(configOf(dev, configMaxPorts, 4), maxPorts))
	}
	for id := range n {
		p := &Port{id: id, control: c.control}
		if errno := p.open(dev); errno != 0 {
			return nil, errno
		}
		c.ports = append(c.ports, p)
	}
	if c.control != nil {
		errno = c.control.open(dev)
	}
	return c, errno
}

// Start starts the device. It waits until the device has named its ports, for
// at most timeout nanoseconds.
func (c *Console) Start(timeout int64) linux.Errno {
	if c.control == nil {
		c.ports[0].state, c.ports[0].console = portOpen, true
		if c.dev.Has(featureSize) && c.Resized != nil {
			c.dev.OnConfig(c.Resized)
		}
		return c.dev.Start()
	}
	if errno := c.dev.Start(); errno != 0 {
		return errno
	}
	c.control.send(0, eventDeviceReady, 1)
	go c.receive()
	timer := platform.AfterFunc(timeout, c.control.settled.Wake)
	c.control.settled.Wait()
	timer.Stop()
	return 0
}

// Port returns the port with that name, or nil.
func (c *Console) Port(name string) *Port {
	return c.find(func(p *Port) bool { return p.name == name })
}

// Terminal returns the first port that the device marks as a console, or nil.
func (c *Console) Terminal() *Port {
	return c.find(func(p *Port) bool { return p.console })
}

func (c *Console) find(match func(p *Port) bool) *Port {
	for _, p := range c.ports {
		if p.found(match) {
			return p
		}
	}
	return nil
}

// Size returns the size of the port's window in characters, or 0, 0 if it is
// unknown.
func (c *Console) Size(p *Port) (cols, rows uint16) {
	if c.control == nil && c.dev.Has(featureSize) {
		return uint16(configOf(c.dev, configCols, 2)), uint16(configOf(c.dev, configRows, 2))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cols, p.rows
}

// configOf returns the field of n bytes (at most 4) at off in the
// configuration, or 0 if it does not exist.
func configOf(dev *virtio.Device, off, n int) (v uint32) {
	var b [4]byte
	if !dev.Config(off, b[:n]) {
		return 0
	}
	return le32(b[:])
}

func le16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }

func le32(b []byte) uint32 { return uint32(le16(b)) | uint32(le16(b[2:]))<<16 }

// receive handles control messages from the device.
func (c *Console) receive() {
	k := c.control
	for k.in.Wait() {
		for {
			token, n, ok := k.in.Take()
			if !ok {
				break
			}
			var m [messageSize]byte
			c.handle(m[:copy(m[:], k.inBuffer(token).Mem[:n])])
			k.in.Add(nil, []virtio.Buffer{k.inBuffer(token)}, token)
		}
		k.in.Kick()
		if c.identified() {
			k.settled.Wake()
		}
	}
	k.settled.Wake()
}

// identified reports whether every port that the device has added is
// identified. The device must add all ports before it identifies one, as QEMU
// does. With another device, a port may be found only after Start.
func (c *Console) identified() bool {
	some := false
	for _, p := range c.ports {
		p.mu.Lock()
		added, known := p.state != portAbsent, p.console || p.name != "" || p.state == portOpen
		p.mu.Unlock()
		if added && !known {
			return false
		}
		some = some || added
	}
	return some
}

// handle handles the control message m (§5.3.6.2).
func (c *Console) handle(m []byte) {
	if len(m) < headerSize {
		c.dev.Fail("it sent a control message of " + strconv.Itoa(len(m)) + " bytes")
		return
	}
	id, event, value := le32(m), le16(m[4:]), le16(m[6:])
	if id >= uint32(len(c.ports)) {
		if event == eventPortAdd {
			c.control.send(id, eventPortReady, 0)
		}
		return
	}
	p := c.ports[id]
	resized := false
	p.mu.Lock()
	switch event {
	case eventPortAdd:
		if p.state == portAbsent {
			p.state = portAdded
		}
	case eventPortRemove:
		p.state, p.name, p.console, p.used = portAbsent, "", false, false
	case eventConsolePort:
		p.console = value == 1
	case eventPortName:
		// QEMU terminates the name with a zero byte, which is not part of it.
		p.name = strings.TrimRight(string(m[headerSize:]), "\x00")
	case eventPortOpen:
		if p.state != portAbsent {
			p.state = portClosed
			if value == 1 {
				p.state = portOpen
			}
		}
	case eventResize:
		if len(m) >= headerSize+4 {
			p.cols, p.rows = le16(m[headerSize:]), le16(m[headerSize+2:])
			resized = true
		}
	}
	p.mu.Unlock()
	if event == eventPortAdd {
		c.control.send(id, eventPortReady, 1)
	}
	p.changed()
	if resized && c.Resized != nil {
		c.Resized()
	}
}

// control has the queues for control messages.
type control struct {
	in, out *virtio.Queue
	memory  virtio.Buffer // buffers of in, then of out
	settled platform.Waiter

	mu    sync.Mutex // guards out
	spare []int      // tokens of the messages that the device does not have
}

// Control messages (§5.3.6.2): struct virtio_console_control (id, event, value)
// and optional data. Names that we use fit into messageSize.
const (
	headerSize  = 8
	messageSize = 64
	inMessages  = 32
	outMessages = 16
)

// Events of control messages.
const (
	eventDeviceReady = 0
	eventPortAdd     = 1
	eventPortRemove  = 2
	eventPortReady   = 3
	eventConsolePort = 4
	eventResize      = 5
	eventPortOpen    = 6
	eventPortName    = 7
)

func (k *control) open(dev *virtio.Device) (errno linux.Errno) {
	if k.in, errno = dev.NewQueue(queueControlIn, inMessages); errno != 0 {
		return errno
	}
	if k.out, errno = dev.NewQueue(queueControlOut, outMessages); errno != 0 {
		return errno
	}
	if k.memory, errno = virtio.Alloc(inMessages*messageSize + outMessages*headerSize); errno != 0 {
		return errno
	}
	// A device without a buffer drops its message, so provide as many as it could
	// need.
	for token := range k.in.Size() {
		k.in.Add(nil, []virtio.Buffer{k.inBuffer(token)}, token)
	}
	for token := range k.out.Size() {
		k.spare = append(k.spare, token)
	}
	return 0
}

func (k *control) inBuffer(token int) virtio.Buffer {
	return k.memory.Slice(token*messageSize, (token+1)*messageSize)
}

func (k *control) outBuffer(token int) virtio.Buffer {
	off := inMessages*messageSize + token*headerSize
	return k.memory.Slice(off, off+headerSize)
}

// send sends a message. It does nothing on a broken device.
func (k *control) send(id uint32, event, value uint16) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		token, _, ok := k.out.Take()
		if ok {
			k.spare = append(k.spare, token)
			continue
		}
		if len(k.spare) > 0 {
			break
		}
		if !k.out.Wait() {
			return
		}
	}
	token := k.spare[len(k.spare)-1]
	k.spare = k.spare[:len(k.spare)-1]
	b := k.outBuffer(token)
	copy(b.Mem, []byte{
		byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24),
		byte(event), byte(event >> 8), byte(value), byte(value >> 8),
	})
	k.out.Add([]virtio.Buffer{b}, nil, token)
	k.out.Kick()
}
