package block

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Types of requests (virtio 1.2 §5.2.6).
const (
	typeIn          = 0
	typeOut         = 1
	typeFlush       = 4
	typeDiscard     = 11
	typeWriteZeroes = 13
)

// Status of a request. statusNone is the initial value.
const (
	statusOK          = 0
	statusUnsupported = 2
	statusNone        = 0xff
)

// flagUnmap is a flag of typeWriteZeroes.
const flagUnmap = 1

// blockRange is struct virtio_blk_discard_write_zeroes.
type blockRange struct {
	sector         uint64
	sectors, flags uint32
}

func (r blockRange) bytes() []byte {
	b := make([]byte, 16)
	putLE64(b, r.sector)
	putLE64(b[8:], uint64(r.sectors)|uint64(r.flags)<<32)
	return b
}

func putLE64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}

const (
	// maxChunk is the most data of one request, in bytes. A larger operation takes
	// several requests; at most window of them are in flight at once.
	maxChunk = 64 << 10
	window   = 4
	// maxDepth is the most requests in flight in a queue, if it has room for them.
	// Their memory is allocated when first needed.
	maxDepth = 16

	headerSize = 16
	frameSize  = 32 // header and status, padded for alignment
)

// lane is one of the disk's queues, with its requests.
type lane struct {
	q           *virtio.Queue
	segmentSize int
	room        int        // most bytes of data in a request
	requests    []*request // by token; the queue has room for all of them

	mu      sync.Mutex // guards the queue and the fields below
	free    []*request
	waiting []*platform.Waiter // for a free request
	broken  bool
}

// request is a reusable request. Whoever got it from get has exclusive use.
type request struct {
	l       *lane
	token   int
	data    virtio.Buffer // allocated when first used
	frame   virtio.Buffer // header and status
	out, in []virtio.Buffer

	done    platform.Waiter
	sent    bool   // the device has the request
	written int    // bytes that the device reports as written; -1: it has not returned the request
	part    []byte // the part of the caller's buffer that the request serves
	skip    int    // offset of part in data
}

func newLane(dev *virtio.Device, index, segments, segmentSize int) (*lane, linux.Errno) {
	q, errno := dev.NewQueue(index, 4*maxDepth)
	if errno != 0 {
		return nil, errno
	}
	segments = min(segments, q.Size()-2)
	if segments < 1 {
		dev.Fail("its queue is too small for a request")
		return nil, linux.EIO
	}
	l := &lane{q: q, segmentSize: segmentSize, room: min(maxChunk, segments*segmentSize)}
	pieces := 2 + (l.room+segmentSize-1)/segmentSize
	depth := min(maxDepth, q.Size()/pieces)
	frames, errno := virtio.Alloc(depth * frameSize)
	if errno != 0 {
		return nil, errno
	}
	for token := range depth {
		r := &request{l: l, token: token, frame: frames.Slice(token*frameSize, (token+1)*frameSize)}
		l.requests = append(l.requests, r)
		l.free = append(l.free, r)
	}
	return l, 0
}

// get returns a free request. If all are in use, it waits if wait is set, else
// it returns nil. It also returns nil when the device is broken.
func (l *lane) get(wait bool) *request {
	var w *platform.Waiter
	for {
		l.mu.Lock()
		n := len(l.free)
		switch {
		case l.broken:
			l.mu.Unlock()
			return nil
		case n > 0:
			r := l.free[n-1]
			l.free = l.free[:n-1]
			l.mu.Unlock()
			return r
		case !wait:
			l.mu.Unlock()
			return nil
		}
		if w == nil {
			w = new(platform.Waiter)
		}
		l.waiting = append(l.waiting, w)
		l.mu.Unlock()
		w.Wait()
	}
}

// put frees a request that the device does not have.
func (l *lane) put(r *request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, r)
	if len(l.waiting) > 0 {
		l.waiting[0].Wake()
		l.waiting = l.waiting[1:]
	}
}

// run completes requests that the device has used.
func (l *lane) run() {
	for l.q.Wait() {
		l.mu.Lock()
		for {
			token, n, ok := l.q.Take()
			if !ok {
				break
			}
			r := l.requests[token]
			r.sent, r.written = false, n
			r.done.Wake()
		}
		l.mu.Unlock()
	}
	// The device may still write to requests that it has, so they are never
	// reused.
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for _, r := range l.requests {
		if r.sent {
			r.done.Wake()
		}
	}
	for _, w := range l.waiting {
		w.Wake()
	}
}

// send makes the request available to the device. n bytes of its data are read
// by the disk, or written by it if read is set.
func (r *request) send(typ uint32, at uint64, n int, read bool) linux.Errno {
	header, status := r.frame.Slice(0, headerSize), r.frame.Slice(headerSize, headerSize+1)
	putLE64(header.Mem, uint64(typ))
	putLE64(header.Mem[8:], at)
	status.Mem[0] = statusNone
	r.out, r.in = append(r.out[:0], header), r.in[:0]
	for lo := 0; lo < n; lo += r.l.segmentSize {
		segment := r.data.Slice(lo, min(lo+r.l.segmentSize, n))
		if read {
			r.in = append(r.in, segment)
		} else {
			r.out = append(r.out, segment)
		}
	}
	r.in = append(r.in, status)
	r.written = -1

	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.q.Add(r.out, r.in, r.token) {
		return linux.EIO
	}
	r.sent = true
	l.q.Kick()
	return 0
}

// wait waits until the device has completed the request. The device must have
// written n bytes of data. It calls use before it frees the request. A
// request that the device does not return is never reused.
func (r *request) wait(n int, use func()) linux.Errno {
	r.done.Wait()
	if r.written < 0 {
		return linux.EIO
	}
	defer r.l.put(r)
	switch status := r.frame.Mem[headerSize]; {
	case status == statusUnsupported:
		return linux.EOPNOTSUPP
	case status != statusOK || r.written < n:
		return linux.EIO
	}
	use()
	return 0
}

// alloc allocates the request's memory for data.
func (r *request) alloc() (errno linux.Errno) {
	if r.data.Mem == nil {
		r.data, errno = virtio.Alloc(r.l.room)
	}
	return errno
}

// lane returns the queue for the next operation.
func (d *Disk) lane() *lane { return d.lanes[int(d.next.Add(1))%len(d.lanes)] }

// command makes one request with payload as its data.
func (d *Disk) command(typ uint32, at uint64, payload []byte) linux.Errno {
	r := d.lane().get(true)
	if r == nil {
		return linux.EIO
	}
	if errno := r.alloc(); errno != 0 {
		r.l.put(r)
		return errno
	}
	copy(r.data.Mem, payload)
	if errno := r.send(typ, at, len(payload), false); errno != 0 {
		return errno
	}
	return r.wait(0, func() {})
}

// transfer reads or writes p at off. A large transfer keeps several requests in
// flight. A write must consist of whole blocks; a read need not.
func (d *Disk) transfer(typ uint32, p []byte, off int64) (int, linux.Errno) {
	var (
		l        = d.lane()
		inFlight [window]*request
		n        int // length of inFlight
		done     int
		failure  linux.Errno
	)
	for failure == 0 && len(p) > 0 || n > 0 {
		for failure == 0 && len(p) > 0 && n < window {
			r := l.get(n == 0) // with requests in flight, must not wait for more
			if r == nil {
				if n == 0 {
					failure = linux.EIO
				}
				break
			}
			var m int
			if m, failure = d.start(r, typ, p, off); failure != 0 {
				break
			}
			inFlight[n] = r
			n++
			p, off = p[m:], off+int64(m)
		}
		if n == 0 {
			break
		}
		r := inFlight[0]
		copy(inFlight[:], inFlight[1:n])
		n--
		m, errno := finish(r, typ)
		if failure == 0 {
			done, failure = done+m, errno
		}
	}
	return done, failure
}

// start sends a request for the first part of p, and returns the length of that
// part.
func (d *Disk) start(r *request, typ uint32, p []byte, off int64) (int, linux.Errno) {
	if errno := r.alloc(); errno != 0 {
		r.l.put(r)
		return 0, errno
	}
	size := int64(d.blockSize)
	start := off / size * size
	r.skip = int(off - start)
	r.part = p[:min(len(p), d.chunk-r.skip)]
	span := (r.skip + len(r.part) + d.blockSize - 1) / d.blockSize * d.blockSize
	if typ == typeOut {
		copy(r.data.Mem, r.part)
	}
	return len(r.part), r.send(typ, uint64(start/sector), span, typ == typeIn)
}

// finish waits for the request. It returns how many bytes of the caller's
// buffer were transferred.
func finish(r *request, typ uint32) (int, linux.Errno) {
	part, need, use := r.part, 0, func() {}
	r.part = nil
	if typ == typeIn {
		need = r.skip + len(part)
		use = func() { copy(part, r.data.Mem[r.skip:]) }
	}
	if errno := r.wait(need, use); errno != 0 {
		return 0, errno
	}
	return len(part), 0
}
