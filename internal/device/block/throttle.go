package block

import (
	"time"

	"golang.org/x/time/rate"
)

// throttle holds the rate limits of a disk. Each limit is a token bucket. A
// request may take more tokens than the bucket has. It then waits until the
// bucket would have refilled, so no request is too large for a limit.
type throttle struct {
	requests, bytes *rate.Limiter // nil: no limit
}

// burst is the size of a bucket in seconds: it holds the tokens of that time,
// but at least leastBytes or leastRequests. So a request of usual size starts
// at once on a slow disk too.
const (
	burst         = 0.1
	leastBytes    = 64 << 10
	leastRequests = 1
)

func newThrottle(bytes, requests int64) throttle {
	bucket := func(perSecond int64, least float64) *rate.Limiter {
		if perSecond == 0 {
			return nil
		}
		return rate.NewLimiter(rate.Limit(perSecond), int(max(least, burst*float64(perSecond))))
	}
	return throttle{requests: bucket(requests, leastRequests), bytes: bucket(bytes, leastBytes)}
}

// delay takes the tokens of a request that transfers n bytes. It returns how
// long the request has to wait.
func (t *throttle) delay(n int) time.Duration {
	if t.requests == nil && t.bytes == nil {
		return 0
	}
	now := time.Now()
	return max(take(t.requests, now, 1), take(t.bytes, now, n))
}

func take(l *rate.Limiter, now time.Time, n int) (delay time.Duration) {
	if l == nil {
		return 0
	}
	for n > 0 {
		part := min(n, l.Burst())
		delay = l.ReserveN(now, part).DelayFrom(now)
		n -= part
	}
	return delay
}
