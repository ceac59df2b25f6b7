// Package console drives a virtio console (virtio 1.2 §5.3): ports through
// which bytes come and go, with names when the device has several. It stands
// on package virtio; package machine says what each port is for.
//
// Nothing is taken from a port that nobody reads, and a write returns when the
// device has taken the bytes: what was written is not lost when the machine
// ends, and keeps its order with what is written to another port afterwards.
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

// maxPorts is how many ports are used of a device that has more.
const maxPorts = 8

// Queues of port 0, then of control messages (§5.3.2); a further port n has
// 2+2n and 3+2n.
const (
	queueIn         = 0
	queueOut        = 1
	queueControlIn  = 2
	queueControlOut = 3
)

// queueSize is the size of a port's queues. One buffer is under way, but a
// device may keep some for good.
const queueSize = 8

// Console is a device with its ports.
type Console struct {
	dev     *virtio.Device
	ports   []*Port
	control *control // nil: the device has port 0 alone

	// Resized, when set before Start, is called when the window of a port
	// has another size.
	Resized func()
}

// Open takes the device into use. Its ports are known after Start.
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

// Start lets the device run, and waits until it has said which ports there are
// and what they are called, or until timeout nanoseconds are over.
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

// Port is the port of that name, or nil.
func (c *Console) Port(name string) *Port {
	return c.find(func(p *Port) bool { return p.name == name })
}

// Terminal is the first port that the device calls a console, or nil.
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

// Size is the size of the port's window in characters; 0, 0: it has none.
func (c *Console) Size(p *Port) (cols, rows uint16) {
	if c.control == nil && c.dev.Has(featureSize) {
		return uint16(configOf(c.dev, configCols, 2)), uint16(configOf(c.dev, configRows, 2))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cols, p.rows
}

// configOf is the field of n bytes, at most 4, at off in the configuration; 0
// when there is none.
func configOf(dev *virtio.Device, off, n int) (v uint32) {
	var b [4]byte
	if !dev.Config(off, b[:n]) {
		return 0
	}
	return le32(b[:])
}

func le16(b []byte) uint16 { return uint16(b[0]) | uint16(b[1])<<8 }

func le32(b []byte) uint32 { return uint32(le16(b)) | uint32(le16(b[2:]))<<16 }

// receive handles what the device says about its ports.
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

// identified says whether the device has told what each port is that it has
// added. It adds all of them before it tells of any (as QEMU does; where one
// does not, a port may be found later than Start).
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

// handle handles control message m (§5.3.6.2).
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
		// QEMU ends it with a zero, which is not part of it.
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

// control are the queues for messages about ports.
type control struct {
	in, out *virtio.Queue
	memory  virtio.Buffer // of in, then of out
	settled platform.Waiter

	mu    sync.Mutex // of out
	spare []int      // places of messages that the device does not have
}

// Control messages (§5.3.6.2): struct virtio_console_control, id, event and
// value, and what follows it. A name that does not fit is not one of ours.
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
	// A device that finds no buffer drops its message: have as many as it
	// could need.
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

// send sends a message. To a broken device it does nothing.
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
