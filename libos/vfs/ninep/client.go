package ninep

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/vfs/ninep/wire"
)

// Transport carries messages to a server and its replies back.
type Transport interface {
	// Slots returns how many requests may be in flight.
	Slots() int
	// MaxMessage returns the size of the longest message, in bytes.
	MaxMessage() int
	// Exchange sends one message, the concatenation of out, and parks the calling
	// goroutine until the reply arrives. It copies the reply into the parts of in,
	// which are together as long as the longest allowed reply. It returns the
	// length of the reply. No two concurrent calls have the same slot. An error
	// means that the server cannot be reached.
	Exchange(slot int, out, in [][]byte) (int, linux.Errno)
}

const (
	// wantSize is the message size that the client proposes in Tversion. It bounds
	// the data of one read or write.
	wantSize = 128<<10 + wire.IOHead
	// maxReply is the longest reply without data: an Rreadlink.
	maxReply = wire.Head + 2 + wire.PathMax
)

// client is a session with a server. Requests park the calling goroutine.
type client struct {
	transport Transport
	maxData   int // bytes of data in one message, at most

	mu      sync.Mutex
	idle    []*exchange
	waiting []*turn

	fids fids
}

// turn is a goroutine that waits for an exchange to become idle.
type turn struct {
	platform.Waiter
	x *exchange
}

// exchange is a request and its reply. The request's tag is the slot.
type exchange struct {
	c    *client
	slot int
	tag  uint16
	out  []byte // the request; send fills in its size and tag
	in   []byte // the reply, without data

	// The arguments of Exchange.
	outParts, inParts [2][]byte
}

// connect starts a session (Tversion).
func connect(t Transport) (*client, linux.Errno) {
	c := &client{transport: t}
	for slot := range t.Slots() {
		c.idle = append(c.idle, &exchange{c: c, slot: slot, tag: uint16(slot), in: make([]byte, maxReply)})
	}
	c.fids.c, c.fids.many = c, manyFids
	size := min(wantSize, t.MaxMessage())
	x := c.begin(wire.Tversion)
	defer c.end(x)
	x.tag = wire.NoTag
	defer func() { x.tag = uint16(x.slot) }()
	x.u32(uint32(size))
	x.str(wire.Version)
	r, errno := x.call()
	if errno != 0 {
		return nil, errno
	}
	agreed, name := int(r.U32()), string(r.Str())
	switch {
	case r.Bad || agreed > size || agreed < wire.MinMessage:
		return nil, linux.EIO
	case name != wire.Version:
		return nil, linux.EPROTONOSUPPORT
	}
	c.maxData = agreed - wire.IOHead
	return c, 0
}

// begin returns an exchange for a request, whose fields the caller appends. It
// waits until an exchange is idle.
func (c *client) begin(typ uint8) *exchange {
	c.mu.Lock()
	var x *exchange
	if n := len(c.idle); n > 0 {
		x, c.idle = c.idle[n-1], c.idle[:n-1]
		c.mu.Unlock()
	} else {
		t := new(turn)
		c.waiting = append(c.waiting, t)
		c.mu.Unlock()
		t.Wait()
		x = t.x
	}
	x.out = append(x.out[:0], 0, 0, 0, 0, typ, 0, 0)
	return x
}

// end passes the exchange to the next waiter, or makes it idle.
func (c *client) end(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		c.idle = append(c.idle, x)
		return
	}
	t := c.waiting[0]
	c.waiting = c.waiting[1:]
	t.x = x
	t.Wake()
}

// call sends the request and returns the reply, which is stored in the
// exchange.
func (x *exchange) call() (wire.Reader, linux.Errno) {
	size, errno := x.send(nil, x.in, nil)
	if errno != 0 {
		return wire.Reader{}, errno
	}
	return wire.Reader{B: x.in[wire.Head:size]}, 0
}

// read sends a request whose reply carries data (Rread or Rreaddir). The data
// go to p. read returns their length.
func (x *exchange) read(p []byte) (int, linux.Errno) {
	size, errno := x.send(nil, x.in[:wire.DataHead], p)
	if errno != 0 {
		return 0, errno
	}
	r := wire.Reader{B: x.in[wire.Head:min(size, wire.DataHead)]}
	n := r.U32()
	if r.Bad || int64(n) > int64(size-wire.DataHead) {
		return 0, linux.EIO
	}
	return int(n), 0
}

// write sends a request whose last field is data (Twrite).
func (x *exchange) write(p []byte) (int, linux.Errno) {
	size, errno := x.send(p, x.in[:wire.DataHead], nil)
	if errno != 0 {
		return 0, errno
	}
	r := wire.Reader{B: x.in[wire.Head:size]}
	n := r.U32()
	if r.Bad || int64(n) > int64(len(p)) {
		return 0, linux.EIO
	}
	return int(n), 0
}

// send sends the request, followed by data. The reply goes to head, which has
// room for an Rlerror, and its data to tail. send checks everything that
// replies have in common, and returns the size of the reply.
func (x *exchange) send(data, head, tail []byte) (int, linux.Errno) {
	wire.PutU32(x.out[:0], uint32(len(x.out)+len(data)))
	wire.PutU16(x.out[:5], x.tag)
	x.outParts, x.inParts = [2][]byte{x.out, data}, [2][]byte{head, tail}
	got, errno := x.c.transport.Exchange(x.slot, x.outParts[:], x.inParts[:])
	x.outParts, x.inParts = [2][]byte{}, [2][]byte{}
	if errno != 0 {
		return 0, errno
	}
	if got < wire.Head || got > len(head)+len(tail) {
		return 0, linux.EIO
	}
	r := wire.Reader{B: head[:wire.Head]}
	n, typ, tag := r.U32(), r.U8(), r.U16()
	if int64(n) < wire.Head || int64(n) > int64(got) || tag != x.tag {
		return 0, linux.EIO
	}
	switch {
	case typ == wire.Rlerror && n >= wire.ErrorSize:
		r = wire.Reader{B: head[wire.Head:wire.ErrorSize]}
		return 0, known(r.U32())
	case typ != x.out[4]+1:
		return 0, linux.EIO
	}
	return int(n), 0
}

// known returns the error that the server reports. It replaces numbers outside
// Linux's range by EIO, because a program would take them for results.
func known(v uint32) linux.Errno {
	const maxErrno = 4095
	if v == 0 || v > maxErrno || linux.Errno(v) == linux.EAGAIN {
		return linux.EIO
	}
	return linux.Errno(v)
}

// fid is a number that names an object at the server. It is reference-counted;
// the last drop releases the number (Tclunk).
type fid struct {
	set  *fids
	num  uint32
	refs atomic.Int32
}

// fids are the fids of a session.
type fids struct {
	c *client

	mu     sync.Mutex
	last   uint32
	free   []uint32
	dying  []uint32 // to be clunked
	clunks bool     // a goroutine clunks the dying ones
	many   int      // number of fids at which take starts a garbage collection
}

// manyFids is how many fids may be in use before take starts a garbage
// collection to find unreferenced ones. Below that, the regular collections
// suffice. Each fid may cost the server a descriptor.
const manyFids = 4096

// take returns a fid with a free number.
func (s *fids) take() *fid {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &fid{set: s}
	f.refs.Store(1)
	if n := len(s.free); n > 0 {
		f.num, s.free = s.free[n-1], s.free[:n-1]
	} else {
		f.num = s.last
		s.last++
	}
	if used := s.used(); used >= s.many {
		s.many = 2 * used
		go runtime.GC()
	}
	return f
}

// used returns how many fids are in use, with s.mu held.
func (s *fids) used() int { return int(s.last) - len(s.free) }

// give frees a number that the server does not know.
func (s *fids) give(num uint32) {
	s.mu.Lock()
	s.free = append(s.free, num)
	s.many = max(manyFids, min(s.many, 4*s.used()))
	s.mu.Unlock()
}

// unused frees a fid that the server does not know.
func (f *fid) unused() {
	f.set.give(f.num)
}

func (f *fid) hold() *fid {
	f.refs.Add(1)
	return f
}

// drop releases a reference. The Tclunk is sent in the background, because the
// garbage collector may call drop, and nobody waits for the outcome.
func (f *fid) drop() {
	if f.refs.Add(-1) != 0 {
		return
	}
	s := f.set
	s.mu.Lock()
	s.dying = append(s.dying, f.num)
	start := !s.clunks
	s.clunks = true
	s.mu.Unlock()
	if start {
		go s.clunkAll()
	}
}

// close is drop for the fid of an open file. It waits for the Tclunk, because
// the server must have closed the file before close(2) returns.
func (f *fid) close() {
	if f.refs.Add(-1) == 0 {
		f.set.clunk(f.num)
	}
}

func (s *fids) clunkAll() {
	s.mu.Lock()
	for len(s.dying) > 0 {
		num := s.dying[0]
		s.dying = s.dying[1:]
		s.mu.Unlock()
		s.clunk(num)
		s.mu.Lock()
	}
	s.clunks = false
	s.dying = nil
	s.mu.Unlock()
}

// clunk sends a Tclunk. Whatever the reply, the server no longer knows the
// number afterwards.
func (s *fids) clunk(num uint32) {
	x := s.c.begin(wire.Tclunk)
	x.u32(num)
	x.call()
	s.c.end(x)
	s.give(num)
}
