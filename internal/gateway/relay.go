package gateway

import (
	"bytes"
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	bufferSize   = 128 << 10
	closeTimeout = 30 * time.Second
)

// buffers are for bytes on their way. They are taken when there is something to
// read and given back before the next wait, so that idle connections hold none.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// relay joins a connection of the guest to one of the host until both ended.
// What one peer does the other sees: end of stream as FIN, with the other
// direction still open, and failure as RST.
func (g *Gateway) relay(ctx context.Context, ep tcpip.Endpoint, wq *waiter.Queue, conn *net.TCPConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	aborted := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(aborted)
		ep.Abort()
		reset(conn)
	})

	// The guest's RST must also end a direction that waits for the host.
	failed := waiter.NewFunctionEntry(waiter.EventErr|waiter.EventHUp, func(waiter.EventMask) {
		if ep.State() == uint32(tcp.StateError) {
			cancel()
		}
	})
	wq.EventRegister(&failed)
	defer wq.EventUnregister(&failed)

	var both sync.WaitGroup
	both.Go(func() {
		if !toHost(conn, ep, wq) {
			cancel()
		}
	})
	if !toGuest(ep, wq, conn) {
		cancel()
	}
	both.Wait()
	if !unhook() {
		<-aborted
		return
	}
	_ = conn.Close() // both directions were shut down
	finish(ctx, ep, wq)
}

// finish closes ep and waits until the guest has acknowledged all that it was
// sent. Until then its buffer is full and the connection counts; a guest that
// takes longer than closeTimeout is not waited for.
func finish(ctx context.Context, ep tcpip.Endpoint, wq *waiter.Queue) {
	entry, changed := waiter.NewChannelEntry(waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	ep.Close()
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	for {
		switch tcp.EndpointState(ep.State()) {
		case tcp.StateTimeWait, tcp.StateClose, tcp.StateError:
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			ep.Abort()
			return
		case <-ctx.Done():
			ep.Abort()
			return
		}
	}
}

// toHost copies until the guest's end of stream and passes that on. It reports
// false when the connection failed.
func toHost(conn *net.TCPConn, ep tcpip.Endpoint, wq *waiter.Queue) bool {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	for {
		buf := buffers.Get().(*[bufferSize]byte)
		w := tcpip.SliceWriter(buf[:])
		res, terr := ep.Read(&w, tcpip.ReadOptions{})
		var err error
		if terr == nil {
			_, err = conn.Write(buf[:res.Count])
		}
		buffers.Put(buf)
		switch terr.(type) {
		case nil:
			if err != nil {
				return false
			}
		case *tcpip.ErrWouldBlock:
			<-ready
		case *tcpip.ErrClosedForReceive:
			return conn.CloseWrite() == nil
		default:
			return false
		}
	}
}

// toGuest is toHost the other way round.
func toGuest(ep tcpip.Endpoint, wq *waiter.Queue, conn *net.TCPConn) bool {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	in, err := newReader(conn)
	if err != nil {
		return false
	}
	var payload bytes.Reader
	for {
		buf, n, err := in.read()
		if err != nil {
			return false
		}
		if n == 0 {
			buffers.Put(buf)
			return ep.Shutdown(tcpip.ShutdownWrite) == nil
		}
		payload.Reset(buf[:n])
		for payload.Len() > 0 {
			_, terr := ep.Write(&payload, tcpip.WriteOptions{})
			if _, full := terr.(*tcpip.ErrWouldBlock); full {
				<-ready
			} else if terr != nil {
				buffers.Put(buf)
				return false
			}
		}
		buffers.Put(buf)
	}
}

// reader reads from a socket of the host into buffers that it takes only when
// there is something to read.
type reader struct {
	raw  syscall.RawConn
	call func(fd uintptr) bool
	buf  *[bufferSize]byte
	n    int
	err  error
}

func newReader(conn syscall.Conn) (*reader, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reader{raw: raw}
	r.call = func(fd uintptr) bool {
		r.buf = buffers.Get().(*[bufferSize]byte)
		for {
			if r.n, r.err = unix.Read(int(fd), r.buf[:]); r.err != unix.EINTR {
				break
			}
		}
		if r.err != nil {
			buffers.Put(r.buf)
			r.buf = nil
		}
		return r.err != unix.EAGAIN
	}
	return r, nil
}

// read waits for bytes or a datagram. The caller puts buf back into buffers.
// A stream's end is a read of no bytes.
func (r *reader) read() (buf *[bufferSize]byte, n int, err error) {
	if err := r.raw.Read(r.call); err != nil {
		return nil, 0, err
	}
	return r.buf, r.n, r.err
}

// reset closes conn so that its peer sees a failure, not an end.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // as does closing: it fails only on a closed one
	_ = conn.Close()
}
