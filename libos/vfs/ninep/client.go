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
	// Slots is how many requests may be under way at once.
	Slots() int
	// MaxMessage is the size of the longest message, in bytes.
	MaxMessage() int
	// Exchange sends the message that is the parts of out, parks the calling
	// goroutine until the reply is there, and copies it into the parts of in,
	// which are as long as the longest reply that is allowed. It returns the
	// length of the reply. No two calls at a time have the same slot. An error
	// says that the server cannot be reached.
	Exchange(slot int, out, in [][]byte) (int, linux.Errno)
}

const (
	// wantSize is the message size that the client asks for. It is what one
	// read or write carries at most.
	wantSize = 128<<10 + wire.IOHead
	// maxReply is the longest reply without data: Rreadlink of a path.
	maxReply = wire.Head + 2 + wire.PathMax
)

// client is a session with a server. Its requests park the calling goroutine.
type client struct {
	transport Transport
	maxData   int // bytes of data in one message

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

// exchange is a request and its reply. Its slot is the request's tag.
type exchange struct {
	c    *client
	slot int
	tag  uint16
	out  []byte // the request; its size and its tag are filled in when it is sent
	in   []byte // the reply, but for data

	// What Exchange is given.
	outParts, inParts [2][]byte
}

// connect begins a session (Tversion).
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

// begin is an exchange for a request, whose fields the caller appends.
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

// end hands the exchange on.
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

// call sends the request and returns the reply, which lies in the exchange.
func (x *exchange) call() (wire.Reader, linux.Errno) {
	size, errno := x.send(nil, x.in, nil)
	if errno != 0 {
		return wire.Reader{}, errno
	}
	return wire.Reader{B: x.in[wire.Head:size]}, 0
}

// read sends a request that is answered with data, Rread or Rreaddir, which go
// to p: at most as many as it is long.
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

// write sends a request whose last field is data, Twrite.
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

// send sends the request with data after it. The reply goes to head, which has
// room for an error, and data that follow to tail. It returns the size of the
// reply, after checking all that replies have in common.
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

// known is the error that a server reports, which must be one of Linux's:
// numbers beyond would look like results to a program.
func known(v uint32) linux.Errno {
	const maxErrno = 4095
	if v == 0 || v > maxErrno || linux.Errno(v) == linux.EAGAIN {
		return linux.EIO
	}
	return linux.Errno(v)
}

// fid is a number by which the server knows an object. It is counted: with the
// last use the number is given back (Tclunk).
type fid struct {
	set  *fids
	num  uint32
	refs atomic.Int32
}

// fids are the numbers in use.
type fids struct {
	c *client

	mu     sync.Mutex
	last   uint32
	free   []uint32
	dying  []uint32 // to be clunked
	clunks bool     // a goroutine does that
	many   int      // fids in use, from which on the collector is to look for some
}

// manyFids is how many fids are left to the collector to find when it runs
// anyway: each costs a server a descriptor.
const manyFids = 4096

// take is a number that is free.
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

// used is how many there are, with s.mu held.
func (s *fids) used() int { return int(s.last) - len(s.free) }

// give takes back the number of a fid that the server does not know.
func (s *fids) give(num uint32) {
	s.mu.Lock()
	s.free = append(s.free, num)
	s.many = max(manyFids, min(s.many, 4*s.used()))
	s.mu.Unlock()
}

// unused gives back a fid that the server does not know.
func (f *fid) unused() {
	f.set.give(f.num)
}

func (f *fid) hold() *fid {
	f.refs.Add(1)
	return f
}

// drop ends a use. The server is told in the background: who drops a fid may be
// the garbage collector, and nobody waits for the outcome.
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

// close is drop for a fid with an open file, of which the server is to know
// before close(2) returns.
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

// clunk tells the server. Whatever it answers, it does not know the number any
// more.
func (s *fids) clunk(num uint32) {
	x := s.c.begin(wire.Tclunk)
	x.u32(num)
	x.call()
	s.c.end(x)
	s.give(num)
}
