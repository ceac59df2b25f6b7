// Package ninep is a 9P transport (virtio 1.2 §5, device 9; its layout is
// Linux's include/uapi/linux/virtio_9p.h): it passes messages between a queue
// and a SOCK_SEQPACKET socket, a message a packet. The server at the socket's
// other end (internal/ninep) is in another process, which may open files.
//
// A chain is a request and room for its reply. Replies come in any order, and
// are the requests' whose tags they have. A chain that no reply can be had for
// comes back with nothing written, which is an I/O error to its driver.
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

// featureMountTag is VIRTIO_9P_MOUNT_TAG: the configuration, tag_len[2]
// tag[tag_len], is there.
const featureMountTag = 1 << 0

const queueSize = 64

// MaxMessage is the longest message that the server should agree to, in bytes:
// libos' driver asks for no longer ones (libos/virtio/ninep), longer replies are
// not passed on, and a socket of Linux's usual buffer takes it.
const MaxMessage = 128<<10 + wire.IOHead

// Device is the transport of one folder.
type Device struct {
	mem       *virtqueue.Memory
	config    []byte
	socket    *os.File
	fd        int // socket's
	receiving sync.Once
	packet    [][]byte // of send

	mu       sync.Mutex // guards what follows, and the queue
	worker   *device.Worker
	requests []request
	busy     int // of them
	answered sync.Cond
	gone     bool // the server
}

// request is a chain that the driver waits for.
type request struct {
	chain virtqueue.Chain
	head  [wire.Head]byte // the message's
	busy  bool
}

func (r *request) size() uint32 { return binary.LittleEndian.Uint32(r.head[:]) }

func tagOf(message []byte) uint16 { return binary.LittleEndian.Uint16(message[5:]) }

// New is the transport of the folder that the guest knows by tag, at most 255
// bytes. socket, which is blocking, is its alone, and not closed. A server that
// goes closes or shuts down its end.
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

// SetConfig implements device.Device.
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

// Stop implements device.Device. It waits for the server's answers: what comes
// later could be taken for those of requests that have the same tags.
func (d *Device) Stop() {
	d.worker.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.busy > 0 {
		d.answered.Wait()
	}
	d.worker, d.requests = nil, nil
}

// forward passes requests on, until the device is stopped.
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

// take is the next request. When that is nil, a notification of the next will
// come, unless there may be more by now.
func (d *Device) take(q *virtqueue.Queue) (r *request, more bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// With none free, all the chains that the driver has are here.
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

// send sends a request to the server. The head, by which the reply will be
// known, is sent as it is here: in the guest's memory it could have changed.
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
		// A message is sent as a whole, or not at all.
		_, err := unix.Writev(d.fd, d.packet)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			if r.busy { // or it has failed with all others
				d.answer(r, 0)
			}
		}
		return
	}
}

// answer gives a request back with the first n bytes of its room written. d.mu
// is held.
func (d *Device) answer(r *request, n int) {
	r.busy = false
	d.busy--
	d.worker.Queue().Push(&r.chain, n)
	d.worker.Flush()
	if d.busy == 0 {
		d.answered.Broadcast()
	}
}

// receive takes replies until the server is gone. All requests fail then, and
// so do those that come later, which cannot be sent.
func (d *Device) receive() {
	reply := make([]byte, MaxMessage+1) // a longer one is seen to be so
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

// deliver gives a reply to the request that it is for. d.mu is held.
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
