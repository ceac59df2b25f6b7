package console

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
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
	token   int // of the piece that is written

	reading sync.Mutex // one read at a time
	inMem   virtio.Buffer
	lent    bool   // the device has inMem
	data    []byte // in inMem: what came and was not read
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

// changed has those look who wait for the device.
func (p *Port) changed() {
	p.in.Wake()
	p.out.Wake()
}

// Write writes all of b, and returns when the device has taken it. EPIPE: the
// other side has closed the port; EIO: it is gone, or the device is broken.
func (p *Port) Write(b []byte) (int, linux.Errno) {
	p.writing.Lock()
	defer p.writing.Unlock()
	done := 0
	for done < len(b) {
		n, errno := p.writePiece(b[done:])
		if errno != 0 {
			return done, errno
		}
		done += n
	}
	return done, 0
}

// writePiece writes as much of b as is given to the device at a time.
func (p *Port) writePiece(b []byte) (n int, errno linux.Errno) {
	if errno := p.writable(); errno != 0 {
		return 0, errno
	}
	if p.outMem.Mem == nil {
		if p.outMem, errno = virtio.Alloc(pieceSize); errno != 0 {
			return 0, errno
		}
	}
	n = copy(p.outMem.Mem, b)
	p.token++
	if !p.out.Add([]virtio.Buffer{p.outMem.Slice(0, n)}, nil, p.token) {
		return 0, linux.EIO
	}
	p.out.Kick()
	for {
		errno := p.writable()
		// What comes back with another token was given up below.
		if token, _, ok := p.out.Take(); ok && token == p.token {
			return n, 0
		} else if ok {
			continue
		}
		if errno != 0 {
			// QEMU does not give back what a port that is closed had not
			// taken in full (hw/char/virtio-serial-bus.c,
			// virtio_serial_close): the buffer is lost.
			p.outMem = virtio.Buffer{}
			return 0, errno
		}
		if !p.out.Wait() {
			return 0, linux.EIO
		}
	}
}

// writable says what keeps us from writing.
func (p *Port) writable() linux.Errno {
	switch p.use() {
	case portClosed:
		return linux.EPIPE
	case portAbsent:
		return linux.EIO
	}
	return 0
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
		if _, n, ok := p.in.Take(); ok {
			p.lent, p.data = false, p.inMem.Mem[:n]
		}
		n := copy(b, p.data)
		p.data = p.data[n:]
		switch {
		case n > 0 || len(b) == 0:
			return n, 0
		case state == portClosed:
			return 0, 0
		case state == portAbsent:
			return 0, linux.EIO
		}
		if errno := p.lend(); errno != 0 {
			return 0, errno
		}
		if !p.in.Wait() {
			return 0, linux.EIO
		}
	}
}

// lend gives the device the buffer for input.
func (p *Port) lend() (errno linux.Errno) {
	if p.lent {
		return 0
	}
	if p.inMem.Mem == nil {
		if p.inMem, errno = virtio.Alloc(pieceSize); errno != 0 {
			return errno
		}
	}
	if !p.in.Add(nil, []virtio.Buffer{p.inMem}, 0) {
		return linux.EIO
	}
	p.lent = true
	p.in.Kick()
	return 0
}
