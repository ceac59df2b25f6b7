// Package event has the files that exist only to report events: eventfd(2) and
// timerfd_create(2). Package sys/polling makes them.
package event

import (
	"sync"
	"unsafe"

	"github.com/pith-os/pith/libos/file"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/wait"
)

// Counter is an eventfd: a 64-bit counter that writes add to and reads take.
type Counter struct {
	file.Base
	queue     wait.Queue
	semaphore bool

	mu sync.Mutex
	n  uint64
}

// maxCount is the largest value that the counter may reach (eventfd(2)).
const maxCount = 1<<64 - 2

// NewCounter returns an eventfd with counter n. flags are EFD_*. EFD_CLOEXEC belongs to
// the descriptor and has no effect here.
func NewCounter(n uint32, flags uint32) *Counter {
	c := &Counter{n: uint64(n), semaphore: flags&linux.EFD_SEMAPHORE != 0}
	c.Init(linux.O_RDWR | flags&linux.EFD_NONBLOCK)
	return c
}

// Read implements file.File: it returns the counter and clears it. With EFD_SEMAPHORE
// it returns 1 and subtracts 1.
func (c *Counter) Read(p []byte) (int, linux.Errno) {
	if len(p) < 8 {
		return 0, linux.EINVAL
	}
	c.mu.Lock()
	v := c.n
	if v == 0 {
		c.mu.Unlock()
		return 0, linux.EAGAIN
	}
	if c.semaphore {
		v = 1
	}
	c.n -= v
	c.mu.Unlock()
	putUint64(p, v)
	c.queue.Notify(wait.Out)
	return 8, 0
}

// Write implements file.File: it adds to the counter.
func (c *Counter) Write(p []byte) (int, linux.Errno) {
	if len(p) < 8 {
		return 0, linux.EINVAL
	}
	var v uint64
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&v)), 8), p)
	if v > maxCount {
		return 0, linux.EINVAL
	}
	c.mu.Lock()
	if v > maxCount-c.n {
		c.mu.Unlock()
		return 0, linux.EAGAIN
	}
	c.n += v
	c.mu.Unlock()
	c.queue.Notify(wait.In)
	return 8, 0
}

// Ready implements file.File.
func (c *Counter) Ready() wait.Events {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ev wait.Events
	if c.n > 0 {
		ev |= wait.In
	}
	if c.n < maxCount {
		ev |= wait.Out
	}
	return ev
}

// Watch implements file.File.
func (c *Counter) Watch() *wait.Queue { return &c.queue }

// Stat implements file.File.
func (c *Counter) Stat(st *linux.Stat) linux.Errno { return file.StatAnonymous(st) }

// putUint64 stores v in native byte order.
func putUint64(p []byte, v uint64) { copy(p, unsafe.Slice((*byte)(unsafe.Pointer(&v)), 8)) }
