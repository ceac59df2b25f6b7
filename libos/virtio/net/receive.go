package net

import (
	"math/bits"
	"strconv"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
)

const (
	// A receive buffer is as large as the memory for all of them allows. A
	// small one wastes less on a small frame, a large one takes fewer turns
	// for a large segment.
	minPiece = 4 << 10
	maxPiece = 16 << 10
	// maxBuffers is how many a queue has at most.
	maxBuffers = 256
)

// receiver is a receive queue. All of it belongs to the goroutine that runs it.
type receiver struct {
	d    *Device
	q    *virtio.Queue
	mem  virtio.Buffer
	size int // of each buffer
	n    int // buffers

	// The frame that is coming in.
	header boot.VnetHeader
	frame  [][]byte
	tokens []int
	length int

	unseen int // buffers given back that the device was not told of
	in     [1]virtio.Buffer
}

// init sets up queue i with about the given bytes of buffers.
func (r *receiver) init(d *Device, i, bytes int) (errno linux.Errno) {
	r.d = d
	if r.q, errno = d.dev.NewQueue(i, maxBuffers); errno != 0 {
		return errno
	}
	// §5.1.6.3.1: a frame has room in one buffer, or in all together.
	whole := boot.VirtioNetHeaderSize + ethernetSize + d.mtu
	r.size = min(max(1<<(bits.Len(uint(bytes/r.q.Size()))-1), minPiece), maxPiece)
	if !d.dev.Has(featureMergeable) {
		r.size = (whole + 63) &^ 63
	}
	r.n = min(r.q.Size(), max(bytes, 2*largest)/r.size)
	if r.n*r.size < max(whole, largest) && d.dev.Has(featuresReceive) || r.n*r.size < whole {
		d.dev.Fail("queue " + strconv.Itoa(i) + ": it is too short for a frame")
		return linux.EIO
	}
	r.mem, errno = virtio.Alloc(r.n * r.size)
	return errno
}

// fill gives the device all buffers.
func (r *receiver) fill() {
	for token := range r.n {
		r.give(token)
	}
	r.kick()
}

// give gives the device a buffer.
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

// take adds n bytes of a buffer to the frame that is coming in. The first begins
// with the header, which says how many there are. What cannot be is told.
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
			r.header.Flags = 0 // it has verified nothing that we may believe
		}
		if b := int(r.header.NumBuffers); b == 0 || b > r.n {
			return "it received a frame in " + strconv.Itoa(b) + " buffers of " + strconv.Itoa(r.n)
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
