package console

import (
	"sync"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
)

// Port is a pair of byte streams, one in each direction.
type Port struct {
	id      int
	control *control // the device's control queues
	in, out *virtio.Queue

	mu         sync.Mutex
	state      int  // one of portAbsent…
	used       bool // the driver has opened it
	name       string
	console    bool
	cols, rows uint16

	writing sync.Mutex // serialises writes, so that they do not mix
	outMem  virtio.Buffer
	token   int // of the buffer in flight

	reading sync.Mutex // serialises reads
	inMem   virtio.Buffer
	lent    bool   // the device has inMem
	data    []byte // part of inMem that was received and not read
}

// States of a port, as the device reports them.
const (
	portAbsent = iota
	portAdded  // the device has not reported whether it is open
	portOpen
	portClosed
)

// pieceSize is the size in bytes of a buffer for the device.
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

// use returns the state of the port. The first call opens the port on the
// driver's side: the device sends no input before.
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

// changed wakes those who wait for the device.
func (p *Port) changed() {
	p.in.Wake()
	p.out.Wake()
}

// Write writes all of b, and returns when the device has used the buffers. It
// returns EPIPE when the host has closed the port, and EIO when the port was
// removed or the device is broken.
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

// writePiece writes the first pieceSize bytes of b, at most.
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
		// A buffer with another token was given up below.
		if token, _, ok := p.out.Take(); ok && token == p.token {
			return n, 0
		} else if ok {
			continue
		}
		if errno != 0 {
			// QEMU does not return the buffers that it had not fully consumed when the
			// port was closed (hw/char/virtio-serial-bus.c, virtio_serial_close). The
			// buffer is lost.
			p.outMem = virtio.Buffer{}
			return 0, errno
		}
		if !p.out.Wait() {
			return 0, linux.EIO
		}
	}
}

// writable returns the error that prevents writing, or 0.
func (p *Port) writable() linux.Errno {
	switch p.use() {
	case portClosed:
		return linux.EPIPE
	case portAbsent:
		return linux.EIO
	}
	return 0
}

// Read parks the calling goroutine until there is input. It returns 0 when the
// host has closed the port and everything was read. It returns EIO when the
// port was removed or the device is broken.
func (p *Port) Read(b []byte) (int, linux.Errno) {
	p.reading.Lock()
	defer p.reading.Unlock()
	for {
		// Check the state first: input from before the port was closed is then in the
		// queue already.
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

// lend gives the device the input buffer.
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
