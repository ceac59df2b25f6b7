package inet

import (
	"sync"
	"sync/atomic"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
)

// broker asks the monitor of a confined process for sockets of the host
// (boot.FDSockets). The monitor answers within microseconds: it never waits for
// a peer. So requests go one after the other.
type broker struct {
	mu   sync.Mutex
	host *platform.Host
	id   uint32
	buf  []byte
	in   [boot.MaxSocketReply]byte

	handles atomic.Uint32 // the last handle
}

// monitor returns the instance's broker, or nil if it has none.
var monitor = sync.OnceValue(func() *broker {
	c := platform.Config()
	if platform.VM() || c.Sockets == boot.SocketsNone && len(c.Publish) == 0 {
		return nil
	}
	host, errno := platform.OpenHost(boot.FDSockets)
	if errno != 0 {
		return nil
	}
	return &broker{host: host}
})

// sockets says which sockets are the host's.
func sockets() boot.SocketMode {
	if monitor() == nil {
		return boot.SocketsNone
	}
	return platform.Config().Sockets
}

// handle returns a new handle for boot.SocketOpen.
func (b *broker) handle() uint32 { return b.handles.Add(1) }

// ask sends a request and returns the descriptor that the monitor passes, if the request
// is for one.
func (b *broker) ask(r *boot.SocketRequest) (*platform.Host, linux.Errno) {
	host, _, errno := b.exchange(r, nil)
	return host, errno
}

// read sends a request for a value. It stores as much as fits in val and returns that
// length.
func (b *broker) read(r *boot.SocketRequest, val []byte) (int, linux.Errno) {
	_, n, errno := b.exchange(r, val)
	return n, errno
}

func (b *broker) exchange(r *boot.SocketRequest, val []byte) (_ *platform.Host, n int, _ linux.Errno) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id++
	r.ID = b.id
	b.buf = r.Append(b.buf[:0])
	if _, errno := b.host.Write(b.buf); errno != 0 {
		return nil, 0, linux.ENETDOWN // the monitor is gone, and the instance ends with it
	}
	size, passed, errno := b.host.Receive(b.in[:])
	if errno != 0 && errno != linux.EMFILE {
		return nil, 0, linux.ENETDOWN
	}
	reply, err := boot.ParseSocketReply(b.in[:size])
	switch {
	case err != nil || reply.ID != r.ID:
		errno = linux.ENETDOWN
	case reply.Errno != 0:
		errno = linux.Errno(reply.Errno)
	case (r.Op == boot.SocketOpen || r.Op == boot.SocketTable) && passed == nil && errno == 0:
		errno = linux.ENETDOWN
	}
	if errno != 0 && passed != nil {
		passed.Close()
		passed = nil
	}
	return passed, copy(val, reply.Value), errno
}
