package link

import (
	"context"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/time/rate"
)

// Limit returns n with a limit on the bytes of Ethernet frames that it moves per
// second, separately in each direction. What exceeds the limit waits and is not
// lost: the queues of the guest and of the network fill up. After a pause, up to
// a tenth of a second's bytes pass at once. A rate of 0 is no limit.
func Limit(n Network, bytesPerSecond uint64) Network {
	if bytesPerSecond == 0 {
		return n
	}
	return &limitedNetwork{n, bytesPerSecond}
}

// limitedNetwork is a Network behind a rate limit. It does not embed the Network,
// so that a new method of the interface does not pass through unnoticed.
type limitedNetwork struct {
	network        Network
	bytesPerSecond uint64
}

// Serve implements Network.
func (n *limitedNetwork) Serve(ctx context.Context, l Link) error {
	return n.network.Serve(ctx, newLimited(l, n.bytesPerSecond))
}

// Accept implements Network.
func (n *limitedNetwork) Accept(listener net.Listener, port uint16) { n.network.Accept(listener, port) }

// Tap implements Network. The limit works in Serve, so the kernel must not move
// the packets in its place.
func (n *limitedNetwork) Tap() (*os.File, bool) { return nil, false }

// maxFrame is the largest Ethernet frame of a Packet in bytes.
const maxFrame = boot.MaxFrame - boot.VirtioNetHeaderSize

// limited is a Link behind a token bucket for each direction. It does not embed
// the Link, for the reason that limitedNetwork has.
type limited struct {
	link    Link
	in, out bucket
	most    int // packets that one ReadPackets asks for

	closing sync.Once
	closed  chan struct{}
}

func newLimited(l Link, bytesPerSecond uint64) *limited {
	burst := int(min(max(bytesPerSecond/10, maxFrame), math.MaxInt)) // the largest frame has room
	limit := &limited{link: l, most: max(burst/maxFrame, 1), closed: make(chan struct{})}
	limit.in.init(bytesPerSecond, burst)
	limit.out.init(bytesPerSecond, burst)
	return limit
}

// ReadPackets implements Link. It reads no more than a burst, and waits for the
// tokens before it returns.
func (l *limited) ReadPackets(pkts []Packet, sizes []int) (int, error) {
	n, err := l.link.ReadPackets(pkts[:min(len(pkts), l.most)], sizes)
	if err != nil {
		return n, err
	}
	total := 0
	for _, size := range sizes[:n] {
		total += max(size-boot.VirtioNetHeaderSize, 0)
	}
	if !l.wait(&l.in, total) {
		return 0, io.EOF
	}
	return n, nil
}

// WritePackets implements Link.
func (l *limited) WritePackets(pkts []Packet) error {
	for len(pkts) > 0 {
		n, total := 0, 0
		for ; n < len(pkts); n++ {
			size := -boot.VirtioNetHeaderSize
			for _, piece := range pkts[n] {
				size += len(piece)
			}
			if n > 0 && total+size > l.out.burst {
				break
			}
			total += size
		}
		if !l.wait(&l.out, total) {
			return io.EOF
		}
		if err := l.link.WritePackets(pkts[:n]); err != nil {
			return err
		}
		pkts = pkts[n:]
	}
	return nil
}

// Offload implements Link.
func (l *limited) Offload() bool { return l.link.Offload() }

// Done implements Link.
func (l *limited) Done() <-chan struct{} { return l.link.Done() }

// Close implements Link.
func (l *limited) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.link.Close()
}

// wait waits for n tokens. It reports false if the link ends first.
func (l *limited) wait(b *bucket, n int) bool {
	delay := b.take(n)
	if delay == 0 {
		return true
	}
	b.timer.Reset(delay)
	select {
	case <-b.timer.C:
		return true
	case <-l.closed:
	case <-l.link.Done():
	}
	b.timer.Stop()
	return false
}

// bucket is the token bucket of one direction. One goroutine uses it.
type bucket struct {
	tokens *rate.Limiter
	burst  int // bytes
	timer  *time.Timer
}

func (b *bucket) init(bytesPerSecond uint64, burst int) {
	b.tokens, b.burst = rate.NewLimiter(rate.Limit(bytesPerSecond), burst), burst
	b.timer = time.NewTimer(0)
	b.timer.Stop()
}

// take takes n tokens and returns how long to wait until the bucket has them.
func (b *bucket) take(n int) time.Duration {
	now := time.Now()
	return b.tokens.ReserveN(now, min(n, b.burst)).DelayFrom(now)
}
