// Package vsock drives a virtio socket device (virtio 1.2 §5.10). It is the
// Link of package libos/vsock, and stands on package virtio. Package sys
// registers the address family, and package machine adds /dev/vsock. The device
// is started when the program makes its first socket.
package vsock

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/vsock"
)

// featureStream: the device supports stream sockets. So does a device that
// offers no socket type.
const featureStream = 1 << 0

// configCID is the offset of the VM's CID in the configuration, 8 bytes.
const configCID = 0

// Queues (§5.10.2).
const (
	queueReceive  = 0
	queueTransmit = 1
	queueEvent    = 2
)

// eventReset is the only event: all connections are lost (§5.10.6.7).
const eventReset = 0

// Numbers and sizes of buffers for packets with their headers, and for events.
const (
	receiveBuffers  = 64
	receiveSize     = 8 << 10
	transmitBuffers = 16
	transmitSize    = 32 << 10
	eventBuffers    = 4
	eventSize       = 4
)

// Register registers the address family with package socket. Without a device,
// making a socket fails with EAFNOSUPPORT.
func Register() {
	socket.Register(linux.AF_VSOCK, socket.Family{New: func(typ, proto int) (socket.Socket, linux.Errno) {
		n := network()
		if n == nil {
			return nil, linux.EAFNOSUPPORT
		}
		return n.New(typ, proto)
	}})
}

// vm is the network of the VM's device.
var vm struct {
	once    sync.Once
	network *vsock.Network
}

// network starts the VM's device when first called. It returns nil when there
// is none.
func network() *vsock.Network {
	vm.once.Do(func() {
		for _, t := range virtio.Find(virtio.IDSocket) {
			if d, errno := Open(t); errno == 0 {
				vm.network = d.Network
				return
			}
		}
	})
	return vm.network
}

// Device is a socket device, with the sockets that it connects.
type Device struct {
	*vsock.Network
	dev *virtio.Device
	cid atomic.Uint32

	rx, events *ring

	mu     sync.Mutex // guards the fields below
	tx     *ring
	idle   []int // transmit buffers that the device does not have
	starts platform.Waiter
	full   bool // a sender waits for room, and starts was woken
}

// Open starts the device of t.
func Open(t virtio.Transport) (*Device, linux.Errno) {
	dev, errno := virtio.Open(t, featureStream)
	if errno != 0 {
		return nil, errno
	}
	d := &Device{dev: dev}
	dev.OnConfig(func() {}) // the configuration never changes, but a handler is needed to detect that the device needs a reset
	if errno := d.readCID(); errno != 0 {
		return nil, errno
	}
	if d.rx, errno = newRing(dev, queueReceive, receiveBuffers, receiveSize); errno != 0 {
		return nil, errno
	}
	if d.tx, errno = newRing(dev, queueTransmit, transmitBuffers, transmitSize); errno != 0 {
		return nil, errno
	}
	if d.events, errno = newRing(dev, queueEvent, eventBuffers, eventSize); errno != 0 {
		return nil, errno
	}
	d.Network = vsock.NewNetwork(d)
	for i := range d.tx.buffers {
		d.idle = append(d.idle, i)
	}
	if errno := dev.Start(); errno != 0 {
		return nil, errno
	}
	go d.receive()
	go d.events.serve(d.event)
	go d.reclaim()
	return d, 0
}

// readCID reads the VM's address.
func (d *Device) readCID() linux.Errno {
	cid, ok := configuredCID(d.dev)
	if !ok {
		return linux.EIO
	}
	d.cid.Store(cid)
	return 0
}

// configuredCID returns the CID in the configuration. The upper half of its 8
// bytes is reserved.
func configuredCID(t virtio.Transport) (uint32, bool) {
	var p [8]byte
	if !t.Config(configCID, p[:]) {
		return 0, false
	}
	return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24, true
}

// ring is a queue with a buffer for each of its entries.
type ring struct {
	queue   *virtio.Queue
	buffers []virtio.Buffer
}

func newRing(dev *virtio.Device, i, n, size int) (*ring, linux.Errno) {
	q, errno := dev.NewQueue(i, n)
	if errno != 0 {
		return nil, errno
	}
	mem, errno := virtio.Alloc(q.Size() * size)
	if errno != 0 {
		return nil, errno
	}
	r := &ring{queue: q}
	for at := 0; at < len(mem.Mem); at += size {
		r.buffers = append(r.buffers, mem.Slice(at, at+size))
	}
	return r, 0
}

// offer makes buffer i available for the device to write.
func (r *ring) offer(i int) { r.queue.Add(nil, r.buffers[i:i+1], i) }

// serve calls take with what the device has written, until the device is
// broken. No other goroutine may use the queue.
func (r *ring) serve(take func(p []byte)) {
	for i := range r.buffers {
		r.offer(i)
	}
	r.queue.Kick()
	for r.queue.Wait() {
		for i, n, ok := r.queue.Take(); ok; i, n, ok = r.queue.Take() {
			take(r.buffers[i].Mem[:n])
			r.offer(i)
			r.queue.Kick()
		}
	}
}

// receive receives packets until the device is broken. Then it wakes everybody
// who waits for the device.
func (d *Device) receive() {
	d.rx.serve(d.received)
	d.Down()
	d.starts.Wake()
}

// received handles a packet. The device can still change it, so the header is
// read once.
func (d *Device) received(p []byte) {
	if len(p) < vsock.HeaderSize {
		d.dev.Fail("it sent a packet that is shorter than the header")
		return
	}
	h := vsock.ParseHeader(p)
	data := p[vsock.HeaderSize:]
	if uint64(h.Len) > uint64(len(data)) {
		d.dev.Fail("it sent a packet that is shorter than its length field")
		return
	}
	d.Receive(&h, data[:h.Len])
}

// event handles an event.
func (d *Device) event(p []byte) {
	if len(p) < eventSize || p[0]|p[1]|p[2]|p[3] != eventReset {
		return
	}
	if d.readCID() == 0 {
		d.Reset()
	}
}

// CID implements vsock.Link.
func (d *Device) CID() uint32 { return d.cid.Load() }

// MaxData implements vsock.Link.
func (d *Device) MaxData() int { return transmitSize - vsock.HeaderSize }

// Send implements vsock.Link.
func (d *Device) Send(h *vsock.Header, fill func(p []byte)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.idle) == 0 {
		d.collect()
	}
	if len(d.idle) == 0 {
		if !d.full {
			d.full = true
			d.starts.Wake()
		}
		return false
	}
	i := d.idle[len(d.idle)-1]
	size := vsock.HeaderSize + int(h.Len)
	b := d.tx.buffers[i].Slice(0, size)
	h.Put(b.Mem)
	if h.Len > 0 {
		fill(b.Mem[vsock.HeaderSize:])
	}
	// A broken queue accepts nothing, but Down ends everything anyway.
	if d.tx.queue.Add([]virtio.Buffer{b}, nil, i) {
		d.idle = d.idle[:len(d.idle)-1]
		d.tx.queue.Kick()
	}
	return true
}

// collect takes back the buffers that the device has sent.
func (d *Device) collect() {
	for i, _, ok := d.tx.queue.Take(); ok; i, _, ok = d.tx.queue.Take() {
		d.idle = append(d.idle, i)
	}
}

// reclaim waits for a free buffer if all are in use. Only then are interrupts
// for sent buffers needed.
func (d *Device) reclaim() {
	for {
		d.starts.Wait()
		if !d.tx.queue.Wait() {
			d.Down()
			return
		}
		d.mu.Lock()
		d.collect()
		d.full = false
		d.mu.Unlock()
		d.Room()
	}
}
