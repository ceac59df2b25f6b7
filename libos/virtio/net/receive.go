package net

import (
	"math/bits"
	"strconv"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
)

const (
	// Size of a receive buffer in bytes, depending on the memory for all buffers.
	// Small buffers waste less on small frames; with large ones, a large segment
	// takes fewer steps.
	minPiece = 4 << 10
	maxPiece = 16 << 10
	// maxBuffers is the most buffers in a queue.
	maxBuffers = 256
)

// receiver is a receive queue. Only the goroutine in run uses it.
type receiver struct {
	d    *Device
	q    *virtio.Queue
	mem  virtio.Buffer
	size int // of each buffer, in bytes
	n    int // number of buffers

	// The frame that is being received.
	header boot.VnetHeader
	frame  [][]byte
	tokens []int
	length int

	unseen int // buffers returned since the last notification
	in     [1]virtio.Buffer
}

// init sets queue i up with about the given number of bytes in buffers.
func (r *receiver) init(d *Device, i, bytes int) (errno linux.Errno) {
	r.d = d
	if r.q, errno = d.dev.NewQueue(i, maxBuffers); errno != 0 {
		return errno
	}
	// §5.1.6.3.1: a frame fits into one buffer, or into all together.
	whole := boot.VirtioNetHeaderSize + ethernetSize + d.mtu
	r.size = min(max(1<<(bits.Len(uint(bytes/r.q.Size()))-1), minPiece), maxPiece)
	if !d.dev.Has(featureMergeable) {
		r.size = (whole + 63) &^ 63
	}
	r.n = min(r.q.Size(), max(bytes, 2*largest)/r.size)
	if r.n*r.size < max(whole, largest) && d.dev.Has(featuresReceive) || r.n*r.size < whole {
		d.dev.Fail("queue " + strconv.Itoa(i) + ": it is too small for a frame")
		return linux.EIO
	}
	r.mem, errno = virtio.Alloc(r.n * r.size)
	return errno
}

// fill gives all buffers to the device.
func (r *receiver) fill() {
	for token := range r.n {
		r.give(token)
	}
	r.kick()
}

// give gives a buffer to the device.
func (r *receiver) give(token int) {
	r.in[0] = r.buffer(token)
	r.q.Add(nil, r.in[:], token)
	r.unseen++
}

func (r *receiver) buffer(token int) virtio.Buffer {
	return r.mem.Slice(token*r.size, (token+1)*r.size)
}

// run receives until the queue is broken.
func (r *receiver) run(deliver func(h boot.VnetHeader, frame [][]byte)) {
	for {
		token, n, ok := r.q.Take()
		if !ok {
			r.kick()
			if !r.q.Wait() {
				return
			}
			continue
		}
		if fault := r.take(token, n); fault != "" {
			r.d.dev.Fail(fault)
			return
		}
		if len(r.tokens) < int(r.header.NumBuffers) {
			continue
		}
		deliver(r.header, r.frame)
		for _, token := range r.tokens {
			r.give(token)
		}
		r.frame, r.tokens, r.length = r.frame[:0], r.tokens[:0], 0
		if r.unseen >= r.n/4 {
			r.kick()
		}
	}
}

func (r *receiver) kick() {
	r.unseen = 0
	r.q.Kick()
}

// take adds n bytes of a buffer to the frame being received. The first buffer
// begins with the header, which has the number of buffers. take returns a
// message if the device's data are invalid.
func (r *receiver) take(token, n int) (fault string) {
	data := r.buffer(token).Mem[:n]
	if len(r.tokens) == 0 {
		if n < boot.VirtioNetHeaderSize {
			return "it received a frame without a header"
		}
		var head [boot.VirtioNetHeaderSize]byte
		copy(head[:], data)
		r.header = boot.ParseVnetHeader(head[:])
		if !r.d.dev.Has(featureMergeable) {
			r.header.NumBuffers = 1
		}
		if !r.d.dev.Has(featureGuestCsum) {
			r.header.Flags = 0 // the device must not have verified anything
		}
		if b := int(r.header.NumBuffers); b == 0 || b > r.n {
			return "it received a frame in " + strconv.Itoa(b) + " buffers, but the queue has " + strconv.Itoa(r.n)
		}
		data = data[len(head):]
	}
	r.length += len(data)
	if r.length > largest-boot.VirtioNetHeaderSize {
		return "it received a frame of more than 64 KiB"
	}
	r.frame = append(r.frame, data)
	r.tokens = append(r.tokens, token)
	return ""
}
