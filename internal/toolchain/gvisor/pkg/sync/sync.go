//go:build pith

// Package sync replaces gVisor's package sync with the standard locks. The original
// depends on offsets in the Go scheduler, so it works with one Go release only.
package sync

import "sync"

// Types that the standard library has under the same names.
type (
	Locker    = sync.Locker
	Map       = sync.Map
	Mutex     = sync.Mutex
	Once      = sync.Once
	Pool      = sync.Pool
	WaitGroup = sync.WaitGroup
	// CrossGoroutineMutex may be locked by one goroutine and unlocked by another.
	// Every standard mutex allows this.
	CrossGoroutineMutex = sync.Mutex
)

// RWMutex is a reader/writer lock with DowngradeLock.
type RWMutex struct{ sync.RWMutex }

// DowngradeLock turns the write lock into a read lock. Another writer may get the lock
// in between. The callers in the network stack allow that: under the read lock they
// only notify their queue.
func (m *RWMutex) DowngradeLock() {
	m.Unlock()
	m.RLock()
}

// NoCopy makes vet's copylocks check report copies of a structure.
type NoCopy struct{}

// Lock does nothing.
func (*NoCopy) Lock() {}

// Unlock does nothing.
func (*NoCopy) Unlock() {}

// RaceDisable does nothing, because images are never built with the race detector.
func RaceDisable() {}

// RaceEnable does nothing, like RaceDisable.
func RaceEnable() {}
