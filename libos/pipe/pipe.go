// Package pipe has pipes and FIFOs (pipe(7)). The buffer is a ring of pages, as on
// Linux, because programs can see it. A write of up to PIPE_BUF bytes fits a page, so it
// is never split. A pipe is writable if it has a free page. Package sys/files makes
// pipes; package vfs opens FIFOs through its hook.
package pipe

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

const (
	pageSize = linux.PIPE_BUF
	// DefaultSize is the capacity of a new pipe in bytes.
	DefaultSize = 16 * pageSize
	// MaxSize is the largest capacity (/proc/sys/fs/pipe-max-size).
	MaxSize = 1 << 20
)

// Pipe is the buffer between the ends.
type Pipe struct {
	ino    uint64
	queues [3]wait.Queue // of the ends, by access mode (O_RDONLY, …)

	mu               sync.Mutex
	slots            []page // ring
	head, used       int    // first slot in use, and how many are in use
	readers, writers int
	// The numbers of opens so far. An open of a FIFO waits for them to change.
	// A reader that never saw a writer is not hung up.
	readerOpens, writerOpens uint32
}

// buffers are pages that no pipe uses.
var buffers = sync.Pool{New: func() any { return new([pageSize]byte) }}

// page is a slot of the ring: the bytes buf[off:end].
type page struct {
	buf      *[pageSize]byte
	off, end int
	packet   bool // O_DIRECT: one read takes it and drops the rest
}

var lastIno atomic.Uint64

// New returns an empty pipe without ends.
func New() *Pipe {
	return &Pipe{ino: lastIno.Add(1), slots: make([]page, DefaultSize/pageSize)}
}

func (p *Pipe) notifyReaders(ev wait.Events) {
	p.queues[linux.O_RDONLY].Notify(ev)
	p.queues[linux.O_RDWR].Notify(ev)
}

func (p *Pipe) notifyWriters(ev wait.Events) {
	p.queues[linux.O_WRONLY].Notify(ev)
	p.queues[linux.O_RDWR].Notify(ev)
}

func (p *Pipe) slot(i int) *page { return &p.slots[(p.head+i)%len(p.slots)] }

// read takes bytes from the pipe.
func (p *Pipe) read(b []byte) (int, linux.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	p.mu.Lock()
	full := p.used == len(p.slots)
	n := 0
	for p.used > 0 && n < len(b) {
		s := p.slot(0)
		c := copy(b[n:], s.buf[s.off:s.end])
		n += c
		s.off += c
		packet := s.packet
		if s.off == s.end || packet {
			buffers.Put(s.buf)
			*s = page{}
			p.head = (p.head + 1) % len(p.slots)
			p.used--
		}
		if packet {
			break
		}
	}
	writable := full && p.used < len(p.slots)
	writers := p.writers
	p.mu.Unlock()
	if writable {
		p.notifyWriters(wait.Out)
	}
	if n == 0 && writers > 0 {
		return 0, linux.EAGAIN
	}
	return n, 0
}

// write puts bytes into the pipe, as many as it has room for.
func (p *Pipe) write(b []byte, packet bool) (int, linux.Errno) {
	if len(b) == 0 {
		return 0, 0
	}
	p.mu.Lock()
	if p.readers == 0 {
		p.mu.Unlock()
		return 0, linux.EPIPE
	}
	n := 0
	// The part beyond whole pages goes to the last page in use, if it fits.
	if rest := len(b) % pageSize; rest > 0 && p.used > 0 {
		if s := p.slot(p.used - 1); !s.packet && s.end+rest <= pageSize {
			copy(s.buf[s.end:], b[:rest])
			s.end += rest
			n = rest
		}
	}
	for n < len(b) && p.used < len(p.slots) {
		s := p.slot(p.used)
		s.buf = buffers.Get().(*[pageSize]byte)
		s.end = copy(s.buf[:], b[n:])
		s.packet = packet
		n += s.end
		p.used++
	}
	p.mu.Unlock()
	if n == 0 {
		return 0, linux.EAGAIN
	}
	p.notifyReaders(wait.In)
	return n, 0
}

// Size returns the capacity in bytes.
func (p *Pipe) Size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.slots) * pageSize
}

// Resize is F_SETPIPE_SZ of fcntl(2). It returns the new capacity in bytes: a power of
// two of pages, at least size.
func (p *Pipe) Resize(size int) (int, linux.Errno) {
	switch {
	case size < 0:
		return 0, linux.EINVAL
	case size > MaxSize:
		return 0, linux.EPERM
	}
	n := 1
	for n*pageSize < size {
		n *= 2
	}
	p.mu.Lock()
	full := p.used == len(p.slots)
	if n < p.used {
		p.mu.Unlock()
		return 0, linux.EBUSY
	}
	slots := make([]page, n)
	for i := range p.used {
		slots[i] = *p.slot(i)
	}
	p.slots, p.head = slots, 0
	writable := full && p.used < n
	p.mu.Unlock()
	if writable {
		p.notifyWriters(wait.Out)
	}
	return n * pageSize, 0
}

// buffered returns the number of bytes in the pipe.
func (p *Pipe) buffered() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for i := range p.used {
		s := p.slot(i)
		n += s.end - s.off
	}
	return n
}
