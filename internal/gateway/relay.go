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
	// bufferSize is the size in bytes of one copy between two sockets.
	bufferSize = 128 << 10
	// closeTimeout is how long the guest may take to acknowledge the last data.
	closeTimeout = 30 * time.Second
)

// buffers holds copy buffers. A connection takes one when there is data to read, and
// returns it before the next wait. So an idle connection holds no buffer.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// relay copies between a connection of the guest and one of the host until both have
// ended. It forwards the end of a stream as FIN and keeps the other direction open.
// It forwards a failure as RST.
func (g *Gateway) relay(ctx context.Context, ep tcpip.Endpoint, wq *waiter.Queue, conn *net.TCPConn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	aborted := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(aborted)
		ep.Abort()
		reset(conn)
	})

	// An RST of the guest must also end the direction that waits for the host.
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
	_ = conn.Close() // both directions are shut down
	finish(ctx, ep, wq)
}

// finish closes ep and waits until the guest has acknowledged all data. Until then
// the connection holds memory, and so it counts against Config.MaxTCP. After
// closeTimeout, finish aborts the connection.
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

// toHost copies from the guest to the host until the end of the stream, which it
// forwards. It reports false if the connection failed.
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

// toGuest is toHost in the other direction.
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

// reader reads from a host socket. It takes a buffer only when there is data.
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

// read waits for data or a datagram. If err is nil, the caller puts buf back into
// buffers. n is 0 at the end of a stream.
func (r *reader) read() (buf *[bufferSize]byte, n int, err error) {
	if err := r.raw.Read(r.call); err != nil {
		return nil, 0, err
	}
	return r.buf, r.n, r.err
}

// reset closes conn with an RST, so that its peer sees a failure.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // both calls fail only if conn is closed
	_ = conn.Close()
}
