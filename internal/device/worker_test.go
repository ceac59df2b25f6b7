package device_test

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

const (
	entries = 8
	buffers = 0x4000
)

// bus records the calls of a device, with the errors in order.
type bus struct {
	failed  chan error
	changes atomic.Int32
}

func newBus() *bus { return &bus{failed: make(chan error, 16)} }

func (b *bus) ConfigChanged() { b.changes.Add(1) }
func (b *bus) Fail(err error) { b.failed <- err }

// fixture is a queue with its worker and its driver.
type fixture struct {
	*device.Worker
	driver *virtqueuetest.Driver
	queue  device.Queue
	bus    *bus
}

// newMemory returns guest memory. It is mapped, like that of a monitor, so the
// race detector ignores it: driver and device access it concurrently by design.
func newMemory(t *testing.T) *virtqueue.Memory {
	t.Helper()
	ram, err := unix.Mmap(-1, 0, 0x8000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(ram); err != nil {
			t.Error(err)
		}
	})
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: ram}})
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

func newEvent(t *testing.T) *event.Event {
	t.Helper()
	e, err := event.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func newFixture(t *testing.T, features uint64) *fixture {
	t.Helper()
	f := &fixture{queue: device.Queue{Kick: newEvent(t), Call: newEvent(t)}}
	f.again(t, newMemory(t), features)
	return f
}

// again makes a new queue and a new worker, as after a reset.
func (f *fixture) again(t *testing.T, mem *virtqueue.Memory, features uint64) {
	t.Helper()
	f.driver = virtqueuetest.New(mem, 0, entries, features&device.FeatureEventIdx != 0)
	f.queue.Layout = f.driver.Layout
	f.bus = newBus()
	var err error
	if f.Worker, err = device.NewWorker(mem, f.queue, features); err != nil {
		t.Fatal(err)
	}
}

// add makes a chain of one byte available. It reports whether the device wants
// a notification.
func (f *fixture) add(t *testing.T) (kick bool) {
	t.Helper()
	if _, ok := f.driver.Add([]virtqueuetest.Buffer{{Addr: buffers, Len: 1}}, nil); !ok {
		t.Fatal("full")
	}
	return f.driver.Publish()
}

func nothing(*virtqueue.Chain) (int, error) { return 0, nil }

func TestEachChainIsUsedAlsoAfterResets(t *testing.T) {
	for _, features := range []uint64{0, device.FeatureEventIdx} {
		f := newFixture(t, features)
		mem := newMemory(t)
		for range 50 {
			f.queue.Kick.Resume()
			f.again(t, mem, features)
			f.Run(f.bus, nothing)
			for range 50 {
				more := f.driver.Listen()
				if f.add(t) {
					f.queue.Kick.Signal()
				}
				for {
					if _, _, ok := f.driver.Take(); ok {
						break
					}
					if !more {
						f.queue.Call.Wait()
					}
					more = f.driver.Listen()
				}
			}
			f.Stop()
		}
	}
}

// The driver makes entries available that the device has not returned, so there
// is always one more chain.
func TestStopEndsWorkOfABusyDriver(t *testing.T) {
	for _, features := range []uint64{0, device.FeatureEventIdx} {
		for name, run := range map[string]func(f *fixture, more func()){
			"Run": func(f *fixture, more func()) {
				f.Run(f.bus, func(*virtqueue.Chain) (int, error) { more(); return 0, nil })
			},
			"Each": func(f *fixture, more func()) {
				var c virtqueue.Chain
				f.Each(f.bus, func() error {
					ok, err := f.Pop(&c)
					if ok {
						more() // one chain is left, so no notification will come
						f.Queue().Push(&c, 0)
					}
					return err
				})
			},
		} {
			t.Run(name, func(t *testing.T) {
				f := newFixture(t, features)
				f.add(t)
				avail := uint16(1)
				going := make(chan bool, 1)
				run(f, func() {
					avail++
					binary.LittleEndian.PutUint16(f.driver.Avail[2:], avail)
					select {
					case going <- true:
					default:
					}
				})
				for range 100 {
					<-going
				}
				f.Stop()
				if len(f.bus.failed) > 0 {
					t.Error(<-f.bus.failed)
				}
			})
		}
	}
}

func TestStopBeforeRun(t *testing.T) {
	f := newFixture(t, 0)
	f.Stop()
	f.Run(f.bus, func(*virtqueue.Chain) (int, error) {
		t.Error("the worker runs after Stop")
		return 0, nil
	})
	f.add(t)
	f.queue.Kick.Signal()
	f.Stop()
}

func TestAnErrorEndsTheWorkAfterAFlush(t *testing.T) {
	broken := errors.New("broken")
	f := newFixture(t, 0)
	for range 3 {
		f.add(t)
	}
	n := 0
	f.Run(f.bus, func(*virtqueue.Chain) (int, error) {
		if n++; n == 3 {
			return 0, broken
		}
		return 0, nil
	})
	if err := <-f.bus.failed; !errors.Is(err, broken) {
		t.Errorf("the bus got error %v", err)
	}
	if !f.queue.Call.Wait() {
		t.Error("no interrupt: the event is stopped")
	}
	for i, want := range []bool{true, true, false} {
		if _, _, ok := f.driver.Take(); ok != want {
			t.Errorf("chain %d is used: %t", i, ok)
		}
	}
	f.queue.Kick.Signal()
	f.Stop()
}

// Stop waits for a worker that is inside bus.Fail. Fail does not wait for
// anything.
func TestStopWhileTheWorkFails(t *testing.T) {
	f := newFixture(t, 0)
	mem := newMemory(t)
	for range 200 {
		f.queue.Kick.Resume()
		f.again(t, mem, 0)
		f.Run(f.bus, nothing)
		binary.LittleEndian.PutUint16(f.driver.Avail[2:], 1000)
		f.queue.Kick.Signal()
		f.Stop()
		if len(f.bus.failed) > 1 {
			t.Error("failed twice")
		}
	}
}

func TestWorkDoesNotAllocate(t *testing.T) {
	f := newFixture(t, device.FeatureEventIdx)
	f.Run(f.bus, nothing)
	avail := uint16(0)
	f.add(t)
	f.queue.Kick.Signal()
	f.queue.Call.Wait()
	if n := testing.AllocsPerRun(1000, func() {
		avail++
		binary.LittleEndian.PutUint16(f.driver.Avail[4+2*entries:], avail) // used_event: interrupt after this chain
		binary.LittleEndian.PutUint16(f.driver.Avail[2:], avail+1)
		f.queue.Kick.Signal()
		f.queue.Call.Wait()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	f.Stop()
}
