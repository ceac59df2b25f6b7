package block

import (
	"time"

	"golang.org/x/time/rate"
)

// throttle is the limits of a disk, each a bucket of tokens that fills as time
// goes by. A request may take more tokens than there are, and waits until they
// would have been: none is too large for a limit.
type throttle struct {
	requests, bytes *rate.Limiter // nil: no limit
}

// burst is how many seconds' tokens a bucket holds, if that is more than least,
// with which a slow disk begins a usual request at once.
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

// delay takes the tokens of a request that moves n bytes, and returns how long
// it has to wait for them.
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
