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
// connection in TIME-WAIT. It gives the same number as Linux's
// tcp_max_tw_buckets. The stack keeps about 8 KiB for each.
const memoryPerTimeWait = 256 << 10

// timeWaits bounds the number of connections in TIME-WAIT (RFC 9293 §3.6.1).
// Without a bound, an instance that closes many connections would fill its
// memory. Connections beyond the bound skip TIME-WAIT, as with Linux's
// tcp_max_tw_buckets.
type timeWaits struct {
	mu    sync.Mutex
	until []time.Time // when each TIME-WAIT ends; a ring, in order of time
	next  int         // index of the first to end
}

func newTimeWaits(memory uint64) *timeWaits {
	return &timeWaits{until: make([]time.Time, max(1, memory/memoryPerTimeWait))}
}

// closed counts the connections that the program has closed.
var closed = sync.OnceValue(func() *timeWaits { return newTimeWaits(platform.Config().Memory) })

// add returns how long a connection that ends at now must stay in TIME-WAIT.
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

// bound sets the TIME-WAIT timeout before this side closes a connection of s.
// The timeout is the stack's and not the connection's. A connection that ends
// later than it was closed therefore gets the timeout of the connection closed
// last.
func (w *timeWaits) bound(s *stack.Stack) {
	opt := tcpip.TCPTimeWaitTimeoutOption(w.add(time.Now()))
	must(s.SetTransportProtocolOption(tcp.ProtocolNumber, &opt))
}
