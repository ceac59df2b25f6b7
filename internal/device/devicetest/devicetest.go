// Package devicetest connects a device with libos' own driver for it in memory,
// without a VM between them. It also has what the tests of several devices
// share.
package devicetest

import (
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"

	"golang.org/x/sys/unix"
)

// Memory returns n bytes of memory that the drivers of a test use for DMA while
// t runs. Only one test at a time can have it. A DMA address is the address in
// this process. The memory is never unmapped, because background work of a
// driver can outlive the test.
func Memory(t testing.TB, n int) *virtqueue.Memory {
	t.Helper()
	t.Cleanup(func() {
		platform.HostedDMA = nil
		platform.HostedForgetDMA()
	})
	mem := pages(t, n)
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem))))
	m, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: base, Mem: mem}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	next := 0
	platform.HostedDMA = func(n int) ([]byte, uint64, linux.Errno) {
		mu.Lock()
		defer mu.Unlock()
		at := next
		next += (n + platform.PageSize - 1) &^ (platform.PageSize - 1)
		if next > len(mem) {
			return nil, 0, linux.ENOMEM
		}
		return mem[at:][:n:n], base + uint64(at), 0
	}
	return m
}

// Pages returns n bytes of memory outside the heap, mapped until t ends. The
// race detector does not watch it: two sides share it by design.
func Pages(t testing.TB, n int) []byte {
	t.Helper()
	mem := pages(t, n)
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	return mem
}

func pages(t testing.TB, n int) []byte {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

// Transport connects a driver with a device. It implements virtio.Transport for
// the driver and device.Bus for the device. Each queue has an interrupt of its
// own, and so has the configuration.
type Transport struct {
	t   testing.TB
	dev device.Device

	mu       sync.Mutex
	status   uint8
	features uint64
	queues   []queue
	config   *platform.Interrupt
	failed   error
}

type queue struct {
	device.Queue
	passes sync.WaitGroup
}

// Attach returns a transport for dev. It resets dev when t ends.
func Attach(t testing.TB, dev device.Device) *Transport {
	x := &Transport{t: t, dev: dev, queues: make([]queue, len(dev.Queues()))}
	for i := range x.queues {
		x.queues[i].Kick = Event(t)
	}
	t.Cleanup(x.Shutdown)
	return x
}

// Event returns an event that is closed when t ends.
func Event(t testing.TB) *event.Event {
	t.Helper()
	e, err := event.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// Err returns the error that the device failed with, or nil.
func (x *Transport) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed
}

func (x *Transport) Name() string     { return "test" }
func (x *Transport) DeviceID() uint32 { return x.dev.ID() }
func (x *Transport) Features() uint64 { return x.dev.Features() }
func (x *Transport) Shutdown()        { x.SetStatus(0) }

func (x *Transport) SetFeatures(f uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.features = f
}

func (x *Transport) Status() uint8 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status
}

func (x *Transport) SetStatus(s uint8) {
	x.mu.Lock()
	before, failed := x.status, x.status&virtio.StatusNeedsReset
	x.status = s
	if s != 0 {
		x.status |= failed
	}
	features := x.features
	queues := make([]device.Queue, len(x.queues))
	for i := range queues {
		queues[i] = x.queues[i].Queue
	}
	x.mu.Unlock()
	switch {
	case before&virtio.StatusDriverOK == 0 && s&virtio.StatusDriverOK != 0:
		if err := x.dev.Start(features, queues, x); err != nil {
			x.Fail(err)
			x.mu.Lock()
			x.status &^= virtio.StatusDriverOK
			x.mu.Unlock()
		}
	case s == 0:
		if before&virtio.StatusDriverOK != 0 {
			x.dev.Stop()
		}
		x.reset()
	}
}

func (x *Transport) reset() {
	for i := range x.queues {
		q := &x.queues[i]
		q.Kick.Resume()
		if q.Call != nil {
			q.Call.Stop()
			q.passes.Wait()
			q.Call.Close()
		}
		q.Call, q.Layout = nil, virtqueue.Layout{}
	}
	x.mu.Lock()
	x.config = nil
	x.mu.Unlock()
}

func (x *Transport) Config(off int, p []byte) bool {
	c := x.dev.Config()
	if off < 0 || off+len(p) > len(c) {
		return false
	}
	copy(p, c[off:])
	return true
}

func (x *Transport) SetConfig(off int, p []byte) bool {
	x.dev.SetConfig(off, p)
	return true
}

func (x *Transport) QueueSize(i int) int {
	if sizes := x.dev.Queues(); i >= 0 && i < len(sizes) {
		return sizes[i]
	}
	return 0
}

func (x *Transport) SetQueue(i, size int, desc, driver, dev uint64, irq *platform.Interrupt) linux.Errno {
	q := &x.queues[i]
	call, err := event.New()
	if err != nil {
		x.t.Error(err)
		return linux.EIO
	}
	q.Layout = virtqueue.Layout{Size: size, Desc: desc, Driver: driver, Device: dev}
	q.Call = call
	q.passes.Go(func() {
		for call.Wait() {
			irq.Fire()
		}
	})
	return 0
}

func (x *Transport) Notify(i int) { x.queues[i].Kick.Signal() }

func (x *Transport) OwnInterrupts() (queues, config bool) { return true, true }

func (x *Transport) SetConfigInterrupt(irq *platform.Interrupt) linux.Errno {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.config = irq
	return 0
}

func (x *Transport) AckInterrupt() (queue, config bool) { return true, true }

// ConfigChanged implements device.Bus.
func (x *Transport) ConfigChanged() {
	x.mu.Lock()
	irq := x.config
	x.mu.Unlock()
	if irq != nil {
		irq.Fire()
	}
}

// Fail implements device.Bus.
func (x *Transport) Fail(err error) {
	x.mu.Lock()
	x.status |= virtio.StatusNeedsReset
	if x.failed == nil {
		x.failed = err
	}
	x.mu.Unlock()
	x.ConfigChanged()
}

// Eventually polls is until it reports true. It fails t after 10 seconds; what
// names the condition.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
