package inet

import (
	"runtime"
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
}

// hostSockets returns the instance's broker, or nil if the program's
// connections pass the network card.
var hostSockets = sync.OnceValue(func() *broker {
	if platform.VM() || !platform.Config().Sockets {
		return nil
	}
	host, errno := platform.OpenHost(boot.FDSockets)
	if errno != 0 {
		return nil
	}
	return &broker{host: host}
})

// spinTime is how long ask polls for the reply before it parks, in
// nanoseconds. An idle CPU takes longer to wake up than most requests take.
const spinTime = 50e3

// ask sends a request and returns the socket that the monitor passes.
func (b *broker) ask(r *boot.SocketRequest) (*platform.Host, linux.Errno) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id++
	r.ID = b.id
	b.buf = r.Append(b.buf[:0])
	for {
		_, errno := b.host.Write(b.buf)
		if errno == linux.EAGAIN {
			errno = b.host.Wait(platform.Writable)
			if errno == 0 {
				continue
			}
		}
		if errno != 0 {
			return nil, linux.ENETDOWN // the monitor is gone, and the instance ends with it
		}
		break
	}
	var in [boot.MaxSocketReply + 1]byte
	for end := platform.Nanotime() + spinTime; ; {
		n, passed, errno := b.host.Receive(in[:])
		switch {
		case errno == linux.EAGAIN && platform.Nanotime() < end:
			runtime.Gosched()
			continue
		case errno == linux.EAGAIN:
			if b.host.Wait(platform.Readable) == 0 {
				continue
			}
			return nil, linux.ENETDOWN
		case errno != 0 && errno != linux.EMFILE, n == 0:
			return nil, linux.ENETDOWN
		}
		reply, err := boot.ParseSocketReply(in[:n])
		switch {
		case err != nil || reply.ID != r.ID:
			if passed != nil {
				passed.Close()
			}
			continue
		case reply.Errno != 0:
			errno = linux.Errno(reply.Errno)
		case passed == nil && errno == 0:
			errno = linux.ENETDOWN
		}
		return passed, errno
	}
}
