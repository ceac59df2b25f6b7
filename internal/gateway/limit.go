package gateway

import (
	"io"
	"math"
	"sync"
	"time"

	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/time/rate"
)

// Limit is link with at most so many bytes of Ethernet frames a second, in each
// direction. What is too much waits and is not lost: the guest's own queue fills
// up, and the gateway's. The first packets after a while of rest go at once, as
// many as a tenth of a second's. 0 is no limit.
//
// A Link may have a method Done() <-chan struct{}, of which the channel is closed
// when it ends by itself: what waits then ends at once, too.
func Limit(link Link, bytesPerSecond uint64) Link {
	if bytesPerSecond == 0 {
		return link
	}
	l := &limited{Link: link, closed: make(chan struct{})}
	if d, ok := link.(interface{ Done() <-chan struct{} }); ok {
		l.ended = d.Done()
	}
	// The largest frame must have room.
	burst := int(min(max(bytesPerSecond/10, maxFrame), math.MaxInt))
	l.most = max(burst/maxFrame, 1)
	l.in.init(bytesPerSecond, burst)
	l.out.init(bytesPerSecond, burst)
	return l
}

// maxFrame is the largest Ethernet frame of a Packet.
const maxFrame = boot.MaxFrame - boot.VirtioNetHeaderSize

// limited is a Link behind a token bucket for each direction.
type limited struct {
	Link
	in, out bucket
	most    int // packets that are read at once

	closing sync.Once
	closed  chan struct{}
	ended   <-chan struct{} // nil: the link does not tell
}

// NoOffload says whether the link has no offload.
func (l *limited) NoOffload() bool {
	plain, ok := l.Link.(interface{ NoOffload() bool })
	return ok && plain.NoOffload()
}

// ReadPackets implements Link. It reads no more than there will be tokens for,
// and waits for them before it returns.
func (l *limited) ReadPackets(pkts []Packet, sizes []int) (int, error) {
	n, err := l.Link.ReadPackets(pkts[:min(len(pkts), l.most)], sizes)
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
		if err := l.Link.WritePackets(pkts[:n]); err != nil {
			return err
		}
		pkts = pkts[n:]
	}
	return nil
}

// Close implements Link.
func (l *limited) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.Link.Close()
}

// wait waits for n tokens; false: the link has ended first.
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
	case <-l.ended:
	}
	b.timer.Stop()
	return false
}

// bucket is that of one direction, in which one goroutine is.
type bucket struct {
	tokens *rate.Limiter
	burst  int
	timer  *time.Timer
}

func (b *bucket) init(bytesPerSecond uint64, burst int) {
	b.tokens, b.burst = rate.NewLimiter(rate.Limit(bytesPerSecond), burst), burst
	b.timer = time.NewTimer(0)
	b.timer.Stop()
}

// take takes n tokens, and returns after which time they are there.
func (b *bucket) take(n int) time.Duration {
	now := time.Now()
	return b.tokens.ReserveN(now, min(n, b.burst)).DelayFrom(now)
}
