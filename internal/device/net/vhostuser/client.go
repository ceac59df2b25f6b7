package vhostuser

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long an exchange with the back end may take. The back end
	// needs only a moment.
	patience = 10 * time.Second
	// maxExchange is the largest number of messages in flight.
	maxExchange = 8
	// answerSize is the size in bytes of each reply that a Client asks for. Its
	// payload is a u64, or a queue's index and a number, both u32.
	answerSize = headerSize + 8
)

// Region is a part of the guest's memory and its place in a file, which is a memfd
// that is sealed against shrinking. The protocol has a second address for each
// region, the front end's own. A Client sends the guest-physical address for both.
type Region struct {
	Addr   uint64 // guest-physical address
	Size   uint64 // in bytes
	File   *os.File
	Offset uint64 // in File, in bytes
}

// Client is the front end's side of a connection. The back end is not trusted: the
// Client checks each reply and waits for it no longer than patience. After an
// error the connection is closed and all calls fail.
type Client struct {
	conn     *net.UnixConn
	features uint64 // offered by the back end
	pairs    int
	patience time.Duration

	mu      sync.Mutex   // held during an exchange
	awaited atomic.Int32 // replies that have not come
	answers chan answer

	ending sync.Once
	gone   chan struct{}
	err    error // set before gone is closed
}

// answer is a reply of the back end.
type answer struct {
	request request
	number  uint64
}

// question is a message to the back end.
type question struct {
	request request
	payload []byte
	fds     []int
	result  *uint64 // for the number of the reply; nil: the reply is an acknowledgement
	silent  bool    // the message has no reply
}

// NewClient returns a front end on conn, a connected stream socket, and shares the
// guest's memory with the back end. The Client owns conn, also if NewClient fails.
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

// begin negotiates the protocol features and shares the memory.
func (c *Client) begin(memory []Region) error {
	if len(memory) > maxRegions {
		return fmt.Errorf("%d regions of memory: at most %d are possible", len(memory), maxRegions)
	}
	if err := c.exchange(question{request: getFeatures, result: &c.features}); err != nil {
		return err
	}
	if c.features&featureProtocol == 0 {
		return errors.New("the back end does not offer protocol features")
	}
	var protocol, pairs uint64
	if err := c.exchange(question{request: getProtocolFeatures, result: &protocol}); err != nil {
		return err
	}
	const need = protocolMQ | protocolReplyAck
	if protocol&need != need {
		return fmt.Errorf("the back end offers the protocol features %#x and needs to offer %#x", protocol, need)
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

// descriptor returns the descriptor of c, or -1 if c is closed. Unlike os.File.Fd,
// it leaves the file non-blocking.
func descriptor(c syscall.Conn) int {
	fd := -1
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// Features returns the bits that the back end offers for the device and its queues.
func (c *Client) Features() uint64 { return c.features &^ featureProtocol }

// Descriptor returns the descriptor of the connection, or -1 if it is closed.
func (c *Client) Descriptor() int { return descriptor(c.conn) }

// Pairs returns the number of queue pairs that the back end has.
func (c *Client) Pairs() int { return c.pairs }

// SetFeatures sets the features that the driver accepted. No queue may run.
func (c *Client) SetFeatures(f uint64) error {
	return c.exchange(question{request: setFeatures, payload: le.AppendUint64(nil, f|featureProtocol)})
}

// StartQueue gives queue i, which is new, to the back end. The driver notifies the
// back end through the eventfd kick. The back end interrupts the driver through
// the eventfd call. A queue that is not enabled moves no packet until Enable.
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

// StopQueue takes queue i back. The back end does not use it after StopQueue.
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

// Gone returns a channel that is closed when the back end has hung up or an
// exchange has failed.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Err returns the reason once Gone is closed.
func (c *Client) Err() error { return c.err }

// Close closes the connection.
func (c *Client) Close() { _ = c.fail(net.ErrClosed) }

// fail closes the connection because of err, and returns the first such error.
func (c *Client) fail(err error) error {
	c.ending.Do(func() {
		c.err = fmt.Errorf("vhost-user: %w", err)
		_ = c.conn.Close()
		close(c.gone)
	})
	<-c.gone
	return c.err
}

// exchange sends messages and waits for their replies.
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

// send sends one message.
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

// read passes replies to exchange until the back end hangs up.
func (c *Client) read() {
	for {
		var b [answerSize]byte
		if _, err := io.ReadFull(c.conn, b[:]); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) {
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
			_ = c.fail(fmt.Errorf("an answer to %v, which was not asked for", a.request))
			return
		}
		c.answers <- a // does not block: at most maxExchange replies are awaited
	}
}
