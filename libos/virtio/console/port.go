package console

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Port is one stream of bytes in each direction.
type Port struct {
	id      int
	control *control // the device's
	in, out *virtio.Queue

	mu         sync.Mutex
	state      int  // portAbsent…
	used       bool // we have it open
	name       string
	console    bool
	cols, rows uint16

	writing sync.Mutex // one write at a time: none is torn
	outMem  virtio.Buffer

	reading sync.Mutex // one read at a time
	arrival platform.Waiter
	input   struct {
		sync.Mutex
		mem  virtio.Buffer // allocated at the first read
		lent bool          // the device has it
		data []byte        // in mem: what came and was not read
	}
}

// States of a port on the device's side.
const (
	portAbsent = iota
	portAdded  // it has not said whether it is open
	portOpen
	portClosed
)

// pieceSize is how much is given to the device, or taken from it, at a time.
const pieceSize = 16 << 10

func (p *Port) open(dev *virtio.Device) (errno linux.Errno) {
	in, out := queueIn, queueOut
	if p.id > 0 {
		in, out = 2*p.id+2, 2*p.id+3
	}
	if p.in, errno = dev.NewQueue(in, queueSize); errno != 0 {
		return errno
	}
	p.out, errno = dev.NewQueue(out, queueSize)
	return errno
}

func (p *Port) found(match func(p *Port) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state != portAbsent && match(p)
}

// use is the state of the port, which the device is told of the first time
// that we have it open: it gives no input before.
func (p *Port) use() int {
	p.mu.Lock()
	state, used := p.state, p.used
	p.used = used || state != portAbsent
	p.mu.Unlock()
	if !used && state != portAbsent && p.control != nil {
		p.control.send(uint32(p.id), eventPortOpen, 1)
	}
	return state
}

// Write writes all of b, and returns when the device has taken it. EPIPE: the
// other side has closed the port; EIO: it is gone, or the device is broken.
func (p *Port) Write(b []byte) (int, linux.Errno) {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.outMem.Mem == nil {
		var errno linux.Errno
		if p.outMem, errno = virtio.Alloc(pieceSize); errno != 0 {
			return 0, errno
		}
	}
	done := 0
	for done < len(b) {
		switch p.use() {
		case portClosed:
			return done, linux.EPIPE
		case portAbsent:
			return done, linux.EIO
		}
		n := copy(p.outMem.Mem, b[done:])
		if !p.out.Add([]virtio.Buffer{p.outMem.Slice(0, n)}, nil, 0) {
			return done, linux.EIO
		}
		p.out.Kick()
		for {
			if _, _, ok := p.out.Take(); ok {
				break
			}
			if !p.out.Wait() {
				return done, linux.EIO
			}
		}
		done += n
	}
	return done, 0
}

// Read parks the calling goroutine until something came. 0: the other side has
// closed the port, and everything from before was read. EIO: the port is gone,
// or the device is broken.
func (p *Port) Read(b []byte) (int, linux.Errno) {
	p.reading.Lock()
	defer p.reading.Unlock()
	for {
		// Ask this first: what came before the port was closed is in the
		// queue by then.
		state := p.use()
		n, errno := p.take(b)
		switch {
		case n > 0 || errno != 0 || len(b) == 0:
			return n, errno
		case state == portClosed:
			return 0, 0
		case state == portAbsent:
			return 0, linux.EIO
		}
		p.arrival.Wait()
	}
}

// take takes what came; when that is nothing it lends the buffer to the
// device.
func (p *Port) take(b []byte) (int, linux.Errno) {
	in := &p.input
	in.Lock()
	defer in.Unlock()
	if in.mem.Mem == nil {
		var errno linux.Errno
		if in.mem, errno = virtio.Alloc(pieceSize); errno != 0 {
			return 0, errno
		}
		go p.receive()
	}
	p.collect()
	if n := copy(b, in.data); n > 0 {
		in.data = in.data[n:]
		return n, 0
	}
	if !in.lent {
		if !p.in.Add(nil, []virtio.Buffer{in.mem}, 0) {
			return 0, linux.EIO
		}
		in.lent = true
		p.in.Kick()
	}
	if p.in.Broken() {
		return 0, linux.EIO
	}
	return 0, 0
}

// collect takes the buffer back when the device has used it, with p.input
// locked.
func (p *Port) collect() {
	if _, n, ok := p.in.Take(); ok {
		p.input.lent, p.input.data = false, p.input.mem.Mem[:n]
	}
}

// receive wakes the reader for what comes. The reader cannot wait for the queue
// itself: it also waits for the port to be closed.
func (p *Port) receive() {
	for p.in.Wait() {
		p.input.Lock()
		p.collect()
		p.input.Unlock()
		p.arrival.Wake()
	}
	p.arrival.Wake()
}
