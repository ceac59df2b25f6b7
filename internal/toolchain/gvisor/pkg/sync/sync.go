//go:build pith

// Package sync stands in for gVisor's own, which reads offsets of the Go
// scheduler and so fits one Go release: the standard locks do as well.
package sync

import "sync"

// What the standard library has under the same name.
type (
	Locker    = sync.Locker
	Map       = sync.Map
	Mutex     = sync.Mutex
	Once      = sync.Once
	Pool      = sync.Pool
	WaitGroup = sync.WaitGroup
	// CrossGoroutineMutex may be unlocked by another goroutine than locked
	// it, which every standard mutex allows.
	CrossGoroutineMutex = sync.Mutex
)

// RWMutex is a reader/writer lock with DowngradeLock.
type RWMutex struct{ sync.RWMutex }

// DowngradeLock turns the write lock into a read lock. Another writer may come
// in between; the network stack's callers, which only notify their queue under
// the read lock, allow that.
func (m *RWMutex) DowngradeLock() {
	m.Unlock()
	m.RLock()
}

// NoCopy marks a structure for vet's copylocks.
type NoCopy struct{}

// Lock does nothing.
func (*NoCopy) Lock() {}

// Unlock does nothing.
func (*NoCopy) Unlock() {}

// RaceDisable and RaceEnable bracket what the race detector should not see;
// an image is never built with it.
func RaceDisable() {}

// RaceEnable ends what RaceDisable began.
func RaceEnable() {}
