// Package ninep implements the virtio 9P transport (virtio 1.2 §5, device 9;
// layout in Linux's include/uapi/linux/virtio_9p.h). It passes messages between
// a queue and a SOCK_SEQPACKET socket, one message per packet. The server at
// the other end of the socket (internal/ninep) runs in another process, which
// may open files.
//
// A chain holds a request and a buffer for its reply. Replies may come in any
// order; the tag tells which request a reply belongs to. If a request cannot
// get a reply, the device returns its chain with nothing written. The driver
// treats that as an I/O error.
package ninep

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"

	"golang.org/x/sys/unix"
)

// featureMountTag is VIRTIO_9P_MOUNT_TAG: the configuration has tag_len[2]
// tag[tag_len].
const featureMountTag = 1 << 0

const queueSize = 64

// MaxMessage is the maximum message size that the server should agree to, in
// bytes. The device drops longer replies. libos' driver does not ask for longer
// messages (libos/virtio/ninep). A socket with Linux's default buffer size can
// take a message of this size.
const MaxMessage = 128<<10 + wire.IOHead

// Device is the 9P transport of one shared folder.
type Device struct {
	mem       *virtqueue.Memory
	config    []byte
	socket    *os.File
	fd        int // file descriptor of socket
	receiving sync.Once
	packet    [][]byte // used by send only

	mu       sync.Mutex // guards the fields below and the queue
	worker   *device.Worker
	requests []request
	busy     int // number of busy requests
	answered sync.Cond
	gone     bool // the server is gone
}

// request is a slot for a request in flight.
type request struct {
	chain virtqueue.Chain
	head  [wire.Head]byte // the head of the message
	busy  bool
}

func (r *request) size() uint32 { return binary.LittleEndian.Uint32(r.head[:]) }

func tagOf(message []byte) uint16 { return binary.LittleEndian.Uint16(message[5:]) }

// New returns the transport for the folder that the guest mounts by tag, of at
// most 255 bytes. socket must be blocking. Only the device uses it, but does
// not close it. A server that ends must close or shut down its end.
func New(mem *virtqueue.Memory, tag string, socket *os.File) *Device {
	d := &Device{
		mem:    mem,
		config: append(binary.LittleEndian.AppendUint16(nil, uint16(len(tag))), tag...),
		socket: socket,
		fd:     int(socket.Fd()),
	}
	d.answered.L = &d.mu
	return d
}

// ID implements device.Device.
func (d *Device) ID() uint32 { return device.IDNineP }

// Features implements device.Device.
func (d *Device) Features() uint64 { return device.FeaturesOfQueues | featureMountTag }

// Queues implements device.Device.
func (d *Device) Queues() []int { return []int{queueSize} }

// Config implements device.Device.
func (d *Device) Config() []byte { return d.config }

// SetConfig implements device.Device. The driver can write no field.
func (d *Device) SetConfig(int, []byte) {}

// Start implements device.Device.
func (d *Device) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	if queues[0].Size == 0 {
		return errors.New("the driver has not set up the queue")
	}
	w, err := device.NewWorker(d.mem, queues[0], features)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.worker, d.requests = w, make([]request, queues[0].Size)
	d.mu.Unlock()
	d.receiving.Do(func() { go d.receive() })
	w.Go(bus, func() error { return d.forward(w) })
	return nil
}

// Stop implements device.Device. It waits for the replies of the server. A late
// reply could otherwise be taken for the reply to a new request with the same
// tag.
func (d *Device) Stop() {
	d.worker.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.busy > 0 {
		d.answered.Wait()
	}
	d.worker, d.requests = nil, nil
}

// forward passes requests to the server until the device is stopped.
func (d *Device) forward(w *device.Worker) error {
	for !w.Stopped() {
		r, more, err := d.take(w.Queue())
		switch {
		case err != nil:
			return err
		case r != nil:
			d.send(r)
		case !more && !w.Wait():
			return nil
		}
	}
	return nil
}

// take returns the next request. If it returns nil, it has enabled
// notifications, unless more reports that further requests may be available.
func (d *Device) take(q *virtqueue.Queue) (r *request, more bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// If no slot is free, all chains of the driver are in flight.
	if r = d.free(); r == nil {
		return nil, q.EnableNotify(), nil
	}
	q.DisableNotify()
	ok, err := q.Pop(&r.chain)
	if err != nil {
		return nil, false, err
	}
	if !ok {
		return nil, q.EnableNotify(), nil
	}
	r.busy = true
	d.busy++
	n := 0
	for _, b := range r.chain.Out {
		n += copy(r.head[n:], b)
	}
	if d.gone || n < wire.Head || int64(r.size()) != int64(r.chain.OutLen) {
		d.answer(r, 0)
		return nil, true, nil
	}
	return r, false, nil
}

func (d *Device) free() *request {
	for i := range d.requests {
		if r := &d.requests[i]; !r.busy {
			return r
		}
	}
	return nil
}

// send sends a request to the server. It sends the copy of the head that the
// device keeps, because the head in guest memory could have changed since.
// deliver finds the request of a reply by that copy.
func (d *Device) send(r *request) {
	d.packet = append(d.packet[:0], r.head[:])
	skip := len(r.head)
	for _, b := range r.chain.Out {
		n := min(skip, len(b))
		skip -= n
		if n < len(b) {
			d.packet = append(d.packet, b[n:])
		}
	}
	for {
		// A SOCK_SEQPACKET message is sent completely or not at all.
		_, err := unix.Writev(d.fd, d.packet)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			if r.busy { // receive may already have failed it
				d.answer(r, 0)
			}
		}
		return
	}
}

// answer returns a request to the driver, with n bytes written. d.mu is held.
func (d *Device) answer(r *request, n int) {
	r.busy = false
	d.busy--
	d.worker.Queue().Push(&r.chain, n)
	d.worker.Flush()
	if d.busy == 0 {
		d.answered.Broadcast()
	}
}

// receive takes replies until the server is gone. Then all requests in flight
// fail. Later requests fail because they cannot be sent.
func (d *Device) receive() {
	reply := make([]byte, MaxMessage+1) // one byte more, to detect a longer reply
	for {
		n, err := unix.Read(d.fd, reply)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		d.mu.Lock()
		if n <= 0 {
			break
		}
		d.deliver(reply[:n])
		d.mu.Unlock()
	}
	defer d.mu.Unlock()
	d.gone = true
	for i := range d.requests {
		if r := &d.requests[i]; r.busy {
			d.answer(r, 0)
		}
	}
}

// deliver passes a reply to its request. d.mu is held.
func (d *Device) deliver(reply []byte) {
	if len(reply) < wire.Head {
		return
	}
	for i := range d.requests {
		r := &d.requests[i]
		if !r.busy || tagOf(r.head[:]) != tagOf(reply) {
			continue
		}
		n := 0
		if len(reply) <= min(r.chain.InLen, MaxMessage) && binary.LittleEndian.Uint32(reply) == uint32(len(reply)) {
			for _, to := range r.chain.In {
				n += copy(to, reply[n:])
			}
		}
		d.answer(r, n)
		return
	}
}
