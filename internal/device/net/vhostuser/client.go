package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long the back end may take for an answer. It is a
	// moment's work for it.
	patience = 10 * time.Second
	// maxExchange is how many messages wait for their answers at most.
	maxExchange = 8
	// answerSize is that of each answer a Client asks for: a number, or a
	// queue's number and a number.
	answerSize = headerSize + 8
)

// Region is a part of the guest's memory, and where it is in a file: a memfd
// that is sealed against shrinking. The guest's addresses are also the front
// end's, which the protocol has room for and no use.
type Region struct {
	Addr, Size uint64
	File       *os.File
	Offset     uint64
}

// Client is the front end's side of a connection. The back end is not trusted:
// what it answers is checked, and it has a time to do so. A Client that had an
// error is gone for good, and its connection is closed.
type Client struct {
	conn     *net.UnixConn
	features uint64 // that the back end offers
	pairs    int
	patience time.Duration

	mu      sync.Mutex // held during an exchange
	awaited atomic.Int32
	answers chan answer

	ending sync.Once
	gone   chan struct{}
	err    error // why, once gone is closed
}

type answer struct {
	request request
	number  uint64
}

// question is a message to the back end.
type question struct {
	request request
	payload []byte
	fds     []int
	result  *uint64 // where the number of the answer goes; nil: it is an acknowledgement
	silent  bool    // there is no answer
}

// NewClient is the front end on conn, a connected stream socket, which it owns,
// also when it fails. It shares the guest's memory with the back end.
func NewClient(conn *os.File, memory []Region) (*Client, error) {
	return newClient(conn, memory, patience)
}

func newClient(conn *os.File, memory []Region, patience time.Duration) (*Client, error) {
	u, err := unixConn(conn)
	if err != nil {
		return nil, fmt.Errorf("vhost-user: %w", err)
	}
	c := &Client{conn: u, patience: patience, answers: make(chan answer, maxExchange), gone: make(chan struct{})}
	go c.read()
	if err := c.begin(memory); err != nil {
		return nil, c.fail(err)
	}
	return c, nil
}

// begin agrees on the protocol and shares the memory.
func (c *Client) begin(memory []Region) error {
	if len(memory) > maxRegions {
		return fmt.Errorf("%d regions of memory: at most %d are possible", len(memory), maxRegions)
	}
	if err := c.exchange(question{request: getFeatures, result: &c.features}); err != nil {
		return err
	}
	if c.features&featureProtocol == 0 {
		return errors.New("the back end knows no protocol features")
	}
	var protocol, pairs uint64
	if err := c.exchange(question{request: getProtocolFeatures, result: &protocol}); err != nil {
		return err
	}
	const need = protocolMQ | protocolReplyAck
	if protocol&need != need {
		return fmt.Errorf("the back end has the protocol features %#x, and these are needed: %#x", protocol, need)
	}
	table := le.AppendUint32(le.AppendUint32(nil, uint32(len(memory))), 0)
	var fds []int
	for _, r := range memory {
		for _, field := range [...]uint64{r.Addr, r.Size, r.Addr, r.Offset} {
			table = le.AppendUint64(table, field)
		}
		fds = append(fds, descriptor(r.File))
	}
	err := c.exchange(
		question{request: setProtocolFeatures, payload: le.AppendUint64(nil, need), silent: true},
		question{request: setOwner},
		question{request: getQueueNum, result: &pairs},
		question{request: setMemTable, payload: table, fds: fds})
	c.pairs = int(min(pairs, maxSize))
	return err
}

// descriptor is that of f, which stays as it is: Fd would let it block.
func descriptor(f *os.File) (fd int) {
	fd = -1
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) }) // it fails for a closed one
	}
	return fd
}

// Features are the bits that the back end offers for the device and its queues.
func (c *Client) Features() uint64 { return c.features &^ featureProtocol }

// Descriptor is the connection's, or -1 once that is closed.
func (c *Client) Descriptor() int {
	fd := -1
	raw, err := c.conn.SyscallConn()
	if err == nil {
		// It fails for a closed one.
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// Pairs is how many pairs of queues the back end has at most.
func (c *Client) Pairs() int { return c.pairs }

// SetFeatures tells which of them the driver accepted. No queue runs.
func (c *Client) SetFeatures(f uint64) error {
	return c.exchange(question{request: setFeatures, payload: le.AppendUint64(nil, f|featureProtocol)})
}

// StartQueue has the back end work on queue i, which is new. The driver
// notifies it by the eventfd kick, and it the driver by call. A queue that is
// not enabled delivers nothing until Enable.
func (c *Client) StartQueue(i int, l virtqueue.Layout, kick, call int, enabled bool) error {
	addr := ringState(i, 0)
	for _, part := range [...]uint64{l.Desc, l.Device, l.Driver, 0} {
		addr = le.AppendUint64(addr, part)
	}
	index := le.AppendUint64(nil, uint64(i))
	return c.exchange(
		question{request: setVringNum, payload: ringState(i, uint32(l.Size))},
		question{request: setVringBase, payload: ringState(i, 0)},
		question{request: setVringAddr, payload: addr},
		question{request: setVringCall, payload: index, fds: []int{call}},
		question{request: setVringEnable, payload: ringState(i, state(enabled))},
		question{request: setVringKick, payload: index, fds: []int{kick}})
}

// Enable turns queue i on or off.
func (c *Client) Enable(i int, on bool) error {
	return c.exchange(question{request: setVringEnable, payload: ringState(i, state(on))})
}

// StopQueue takes queue i back, which the back end does not touch any more.
func (c *Client) StopQueue(i int) error {
	var got uint64
	err := c.exchange(question{request: getVringBase, payload: ringState(i, 0), result: &got})
	if err == nil && uint32(got) != uint32(i) {
		err = c.fail(fmt.Errorf("%v of queue %d is answered for queue %d", getVringBase, i, uint32(got)))
	}
	return err
}

func ringState(i int, n uint32) []byte {
	return le.AppendUint32(le.AppendUint32(nil, uint32(i)), n)
}

func state(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// FD is the connection's descriptor.
func (c *Client) FD() int {
	fd := -1
	if raw, err := c.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) }) // it fails when there was an error
	}
	return fd
}

// Gone is closed when the back end has hung up, or there was an error.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Err says why the back end is gone.
func (c *Client) Err() error { return c.err }

// Close hangs up.
func (c *Client) Close() { _ = c.fail(net.ErrClosed) }

// fail ends the connection because of err, and returns why it ended.
func (c *Client) fail(err error) error {
	c.ending.Do(func() {
		c.err = fmt.Errorf("vhost-user: %w", err)
		_ = c.conn.Close() // nobody else does
		close(c.gone)
	})
	<-c.gone
	return c.err
}

// exchange sends questions and awaits their answers.
func (c *Client) exchange(qs ...question) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.Now().Add(c.patience)
	if err := c.conn.SetWriteDeadline(deadline); err != nil {
		return c.fail(err)
	}
	for i := range qs {
		if !qs[i].silent {
			c.awaited.Add(1)
		}
		if err := c.send(&qs[i]); err != nil {
			return c.fail(fmt.Errorf("%v: %w", qs[i].request, err))
		}
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	for i := range qs {
		q := &qs[i]
		if q.silent {
			continue
		}
		var a answer
		select {
		case a = <-c.answers:
		case <-c.gone:
			return c.err
		case <-late.C:
			return c.fail(fmt.Errorf("%v: the back end does not answer", q.request))
		}
		switch {
		case a.request != q.request:
			return c.fail(fmt.Errorf("%v is answered by %v", q.request, a.request))
		case q.result != nil:
			*q.result = a.number
		case a.number != 0:
			return c.fail(fmt.Errorf("%v: the back end refuses it (%d)", q.request, a.number))
		}
	}
	return nil
}

func (c *Client) send(q *question) error {
	flags := uint32(version)
	if q.result == nil && !q.silent {
		flags |= flagNeedReply
	}
	b := le.AppendUint32(make([]byte, 0, headerSize+len(q.payload)), uint32(q.request))
	b = le.AppendUint32(b, flags)
	b = append(le.AppendUint32(b, uint32(len(q.payload))), q.payload...)
	var rights []byte
	if len(q.fds) > 0 {
		rights = unix.UnixRights(q.fds...)
	}
	n, _, err := c.conn.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// read passes the back end's answers on until it hangs up.
func (c *Client) read() {
	for {
		var b [answerSize]byte
		if _, err := io.ReadFull(c.conn, b[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
				err = errors.New("the back end has hung up")
			}
			_ = c.fail(err)
			return
		}
		a := answer{request(le.Uint32(b[0:])), le.Uint64(b[headerSize:])}
		flags, size := le.Uint32(b[4:]), le.Uint32(b[8:])
		switch {
		case flags&(versionMask|flagReply) != version|flagReply || size != answerSize-headerSize:
			_ = c.fail(fmt.Errorf("an answer to %v with flags %#x and %d bytes", a.request, flags, size))
			return
		case c.awaited.Add(-1) < 0:
			_ = c.fail(fmt.Errorf("an answer to %v, which was not asked", a.request))
			return
		}
		c.answers <- a // there is room for all that are awaited
	}
}
