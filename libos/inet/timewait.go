package inet

import (
	"sync"
	"time"

	"github.com/pith-os/pith/libos/platform"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// memoryPerTimeWait is the memory, in bytes, for which an instance may have one
// connection in TIME-WAIT: of Linux's tcp_max_tw_buckets there are as many. The
// stack keeps about 8 KiB of each.
const memoryPerTimeWait = 256 << 10

// timeWaits bounds the connections in TIME-WAIT (RFC 9293, 3.6.1), with which an
// instance that ends many would fill its memory. As with Linux's
// tcp_max_tw_buckets, one too many does without.
type timeWaits struct {
	mu    sync.Mutex
	until []time.Time // when each is forgotten, a ring in that order
	next  int         // in until: the first
}

func newTimeWaits(memory uint64) *timeWaits {
	return &timeWaits{until: make([]time.Time, max(1, memory/memoryPerTimeWait))}
}

// closed are the connections that the program has closed.
var closed = sync.OnceValue(func() *timeWaits { return newTimeWaits(platform.Config().Memory) })

// add says how long a connection that ends now is to wait.
func (w *timeWaits) add(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until[w.next].After(now) {
		return 0
	}
	w.until[w.next] = now.Add(tcp.DefaultTCPTimeWaitTimeout)
	w.next = (w.next + 1) % len(w.until)
	return tcp.DefaultTCPTimeWaitTimeout
}

// bound is called before this side closes a connection of s. The time is the
// stack's, not the connection's: one that ends later than it was closed has
// that of the last one closed.
func (w *timeWaits) bound(s *stack.Stack) {
	opt := tcpip.TCPTimeWaitTimeoutOption(w.add(time.Now()))
	must(s.SetTransportProtocolOption(tcp.ProtocolNumber, &opt))
}
