package inet

import (
	"sync"

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
}

// monitor returns the instance's broker, or nil if it has none.
var monitor = sync.OnceValue(func() *broker {
	c := platform.Config()
	if platform.VM() || !c.Sockets && len(c.Publish) == 0 {
		return nil
	}
	host, errno := platform.OpenHost(boot.FDSockets)
	if errno != 0 {
		return nil
	}
	return &broker{host: host}
})

// hostSockets reports whether the program's connections are sockets of the host.
func hostSockets() bool { return platform.Config().Sockets && monitor() != nil }

// ask sends a request and returns the socket that the monitor passes, if the request is
// for one.
func (b *broker) ask(r *boot.SocketRequest) (*platform.Host, linux.Errno) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id++
	r.ID = b.id
	b.buf = r.Append(b.buf[:0])
	if _, errno := b.host.Write(b.buf); errno != 0 {
		return nil, linux.ENETDOWN // the monitor is gone, and the instance ends with it
	}
	n, passed, errno := b.host.Receive(b.in[:])
	if errno != 0 && errno != linux.EMFILE {
		return nil, linux.ENETDOWN
	}
	reply, err := boot.ParseSocketReply(b.in[:n])
	switch {
	case err != nil || reply.ID != r.ID:
		errno = linux.ENETDOWN
	case reply.Errno != 0:
		errno = linux.Errno(reply.Errno)
	case r.Op == boot.SocketConnect && passed == nil && errno == 0:
		errno = linux.ENETDOWN
	}
	if errno != 0 && passed != nil {
		passed.Close()
		passed = nil
	}
	return passed, errno
}
