package main

import (
	"net/netip"
	"sync"
	"time"
)

// maxSources limits the memory of a Limiter: a flood from forged addresses must
// not exhaust it.
const maxSources = 16384

// Limiter has a token bucket for each source address. A source may open n flows
// at once, and then n per period.
type Limiter struct {
	n      float64
	period time.Duration

	mu      sync.Mutex
	buckets map[netip.Addr]bucket
}

// bucket is the number of tokens at a point in time.
type bucket struct {
	tokens float64
	at     time.Time
}

// NewLimiter returns a limiter for n flows per period.
func NewLimiter(n int, period time.Duration) *Limiter {
	return &Limiter{n: float64(n), period: period, buckets: make(map[netip.Addr]bucket)}
}

// Allow takes a token of addr. It reports whether one was left.
func (l *Limiter) Allow(addr netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets[addr]
	if !known {
		if len(l.buckets) >= maxSources {
			l.forget(now)
		}
		if len(l.buckets) >= maxSources {
			return false
		}
		b = bucket{tokens: l.n, at: now}
	}
	b.tokens = min(l.n, b.tokens+l.n*float64(now.Sub(b.at))/float64(l.period))
	b.at = now
	allowed := b.tokens >= 1
	if allowed {
		b.tokens--
	}
	l.buckets[addr] = b
	return allowed
}

// forget drops full buckets. They are equal to new ones.
func (l *Limiter) forget(now time.Time) {
	for addr, b := range l.buckets {
		if now.Sub(b.at) >= l.period {
			delete(l.buckets, addr)
		}
	}
}
