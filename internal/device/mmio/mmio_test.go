package mmio_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/mmio"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

func TestEcho(t *testing.T) {
	for _, features := range []uint64{device.FeatureVersion1, device.FeatureVersion1 | device.FeatureEventIdx, device.FeaturesOfQueues | 1<<5} {
		t.Run(fmt.Sprintf("%#x", features), func(t *testing.T) {
			g := newGuest(t)
			for off, want := range map[uint64]uint32{magic: 0x74726976, version: 2, deviceID: 3, vendorID: 0x48544950,
				status: 0, interruptStatus: 0, configGeneration: 0, queueReady: 0} {
				g.want(fmt.Sprintf("register %#x", off), g.get(off), want)
			}
			for i, want := range []uint32{1<<5 | 3<<28, 1, 0, 0} {
				g.set(deviceFeaturesSel, uint32(i))
				g.want("features", g.get(deviceFeatures), want)
			}
			for range 3 {
				ds := g.start(features)
				if g.dev.features != features || g.dev.layouts[1] != ds[1].Layout {
					t.Errorf("features %#x, queue 1 at %+v", g.dev.features, g.dev.layouts[1])
				}
				for n := range 20 {
					for i, d := range ds {
						g.exchange(i, d, fmt.Sprint("hello ", n), g.notify(i))
						g.exchange(i, d, "by ioeventfd", g.Kick(i).Signal)
					}
				}
				g.want("interrupt status", g.get(interruptStatus), 0)
				g.set(status, 0)
				g.want("status", g.get(status), 0)
				if g.dev.starts != g.dev.stops {
					t.Errorf("%d starts, %d stops", g.dev.starts, g.dev.stops)
				}
			}
			if g.Queues() != 2 || len(g.log()) > 0 {
				t.Errorf("%d queues; %q", g.Queues(), g.log())
			}
		})
	}
}

func TestStatus(t *testing.T) {
	const v1 = device.FeatureVersion1
	for _, c := range []struct {
		name   string
		accept uint64
		writes []uint32
		want   uint32
		starts int
	}{
		{"as in the specification", v1, []uint32{1, 3, 11, 15}, 15, 1},
		{"DRIVER_OK several times", v1, []uint32{1, 3, 11, 15, 15, 15}, 15, 1},
		{"FEATURES_OK without VERSION_1", 1 << 28, []uint32{1, 3, 11, 15}, 3, 0},
		{"FEATURES_OK with a feature that is not offered", v1 | 1<<6, []uint32{1, 3, 11, 15}, 3, 0},
		{"FEATURES_OK with a high one", v1 | 1<<34, []uint32{1, 3, 11}, 3, 0},
		{"FEATURES_OK without DRIVER", v1, []uint32{1, 9, 13}, 1, 0},
		{"FEATURES_OK without ACKNOWLEDGE", v1, []uint32{2, 10, 14}, 2, 0},
		{"DRIVER_OK without FEATURES_OK", v1, []uint32{1, 3, 7}, 3, 0},
		{"DRIVER_OK after FAILED", v1, []uint32{1, 3, 11, 128, 15}, 128 | 11, 0},
		{"bits cannot be cleared", v1, []uint32{1, 3, 11, 15, 1}, 15, 1},
		{"FAILED alone", v1, []uint32{1, 3, 128}, 128 | 3, 0},
		{"the device's own and unknown bits", v1, []uint32{64, 0xffffff30}, 0, 0},
		{"only 0 is a reset", v1, []uint32{1, 3, 0x100}, 3, 0},
		{"a reset", v1, []uint32{1, 3, 11, 15, 0}, 0, 1},
		{"resets of a stopped device", v1, []uint32{0, 0, 1, 0, 3, 0}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t)
			g.accept(c.accept)
			for _, v := range c.writes {
				g.set(status, v)
			}
			g.want("status", g.get(status), c.want)
			if g.dev.starts != c.starts {
				t.Errorf("started %d times", g.dev.starts)
			}
		})
	}
}

func TestFeaturesAreFixedAfterFeaturesOK(t *testing.T) {
	g := newGuest(t)
	g.agree(device.FeatureVersion1)
	g.accept(device.FeaturesOfQueues)
	g.set(status, allOK)
	if g.dev.features != device.FeatureVersion1 {
		t.Errorf("features %#x", g.dev.features)
	}
	g.set(status, 0)
	g.agree(0)
	g.want("status without a feature after a reset", g.get(status), acknowledge|driver)
}

func TestQueueSetup(t *testing.T) {
	g := newGuest(t)
	try := func(size uint32) uint32 {
		g.set(queueNum, size)
		g.set(queueReady, 1)
		return g.get(queueReady)
	}
	g.want("before anything", try(8), 0)
	g.set(status, acknowledge|driver)
	g.want("before FEATURES_OK", try(8), 0)
	g.set(status, 0)
	g.agree(device.FeatureVersion1)
	for _, size := range []uint32{0, 3, 16, 1 << 31, math.MaxUint32} {
		g.want(fmt.Sprint("size ", size), try(size), 0)
	}
	for i, want := range map[uint32]uint32{0: 8, 1: 4, 2: 0, 1 << 16: 0, math.MaxUint32: 0} {
		g.set(queueSel, i)
		g.want(fmt.Sprintf("queue %#x: QueueNumMax", i), g.get(queueNumMax), want)
		if want == 0 {
			g.want(fmt.Sprintf("queue %#x", i), try(8), 0)
		}
	}
	g.set(queueSel, 0)
	g.set(queueDesc, 0x1000)
	g.set(queueDesc+4, 0)
	g.set(queueDriver, 0x2000)
	g.set(queueDevice, 0x3000)
	g.want("in order", try(4), 1)
	g.set(queueNum, 8)
	g.set(queueDesc, 0x5000) // no effect: the queue is ready
	g.set(queueReady, 0)
	g.want("after a write of 0", g.get(queueReady), 0)
	g.set(queueReady, 1)
	g.set(status, allOK)
	if want := (virtqueue.Layout{Size: 4, Desc: 0x1000, Driver: 0x2000, Device: 0x3000}); g.dev.layouts[0] != want {
		t.Errorf("queue 0: %+v", g.dev.layouts[0])
	}
	if g.dev.layouts[1] != (virtqueue.Layout{}) {
		t.Errorf("queue 1, which was not set up: %+v", g.dev.layouts[1])
	}
	g.set(queueReady, 0)
	g.want("of a started device", g.get(queueReady), 1)
	g.set(status, 0)
	g.want("after a reset", g.get(queueReady), 0)
}

func TestADeviceThatCannotStartNeedsAReset(t *testing.T) {
	g := newGuest(t)
	g.dev.startErr = errors.New("no such thing")
	g.agree(device.FeatureVersion1)
	g.message(math.MaxUint32, 0xfee00000, 0x30)
	g.set(status, allOK)
	g.want("status", g.get(status), allOK|needsReset)
	g.want("interrupt status", g.get(interruptStatus), 2)
	if !raised(g.call(0x30)) {
		t.Error("the driver got no interrupt")
	}
	if log := g.log(); len(log) != 1 || !strings.Contains(log[0], "device 3 needs a reset: no such thing") {
		t.Errorf("logged %q", log)
	}
	g.set(status, allOK)
	g.set(status, 0)
	g.want("status after a reset", g.get(status), 0)
	g.want("interrupt status after a reset", g.get(interruptStatus), 0)
	if g.dev.stops != 0 {
		t.Error("Stop of a device that was not started")
	}
	g.dev.startErr = nil
	ds := g.start(device.FeatureVersion1)
	g.exchange(0, ds[0], "again", g.notify(0))
}

func TestLyingDriverNeedsAResetAndIsLoggedOnce(t *testing.T) {
	g := newGuest(t)
	for range 3 {
		ds := g.start(device.FeatureVersion1)
		binary.LittleEndian.PutUint16(ds[0].Avail[2:], 100)
		g.set(mmio.QueueNotify, 0)
		if !g.call(0x30).Wait() {
			t.Fatal("no interrupt: the event is stopped")
		}
		g.want("status", g.get(status), allOK|needsReset)
		g.exchange(1, ds[1], "the other queue still works", g.notify(1))
		g.set(status, 0)
	}
	if log := g.log(); len(log) != 1 || !strings.Contains(log[0], "the driver lies") {
		t.Errorf("logged %q", log)
	}
}

func TestInterruptMessages(t *testing.T) {
	g := newGuest(t)
	ds := g.start(device.FeatureVersion1)
	g.message(1, 0x1234_5678_fee02000, 0x77)
	if r := g.router.routed[len(g.router.routed)-1]; r != (route{g.call(0x41), 0x1234_5678_fee02000, 0x77}) {
		t.Errorf("routed %+v", r)
	}
	g.exchange(1, ds[1], "moved", g.notify(1))
	n := len(g.router.routed)
	for _, i := range []uint32{2, 1 << 16, math.MaxUint32 - 1} {
		g.message(i, 0xfee00000, 1)
	}
	if len(g.router.routed) != n {
		t.Error("routed the interrupt of a queue that does not exist")
	}
	g.router.err = errors.New("no such interrupt")
	g.message(0, 0, 1)
	g.want("status", g.get(status), allOK|needsReset)
	if log := g.log(); len(log) != 1 || !strings.Contains(log[0], "no such interrupt") {
		t.Errorf("logged %q", log)
	}
}

func TestFailedRouteKeepsTheDeviceFromStarting(t *testing.T) {
	g := newGuest(t)
	g.router.err = errors.New("no such interrupt")
	g.agree(device.FeatureVersion1)
	g.message(0, 0, 1)
	g.want("status", g.get(status), acknowledge|driver|featuresOK|needsReset)
	g.router.err = nil
	g.message(math.MaxUint32, 0xfee00000, 0x30)
	raised(g.call(0x30))
	g.set(status, allOK)
	g.want("status", g.get(status), allOK|needsReset)
	if g.dev.starts != 0 || !raised(g.call(0x30)) {
		t.Error("the device is started, or the driver got no interrupt")
	}
}

func TestConfiguration(t *testing.T) {
	g := newGuest(t)
	read := func(off uint64, n int) []byte {
		p := bytes.Repeat([]byte{0xee}, n)
		g.Read(off, p)
		return p
	}
	for _, c := range []struct {
		off  uint64
		want []byte
	}{
		{0, []byte{0}}, {9, []byte{9}}, {10, []byte{0}}, {2, []byte{2, 3}}, {8, []byte{8, 9}},
		{4, []byte{4, 5, 6, 7}}, {8, []byte{8, 9, 0, 0}}, {12, []byte{0, 0, 0, 0}},
		{0, []byte{0, 1, 2, 3, 4, 5, 6, 7}}, {8, []byte{8, 9, 0, 0, 0, 0, 0, 0}},
		{1, []byte{0, 0}}, {2, []byte{0, 0, 0, 0}}, {4, []byte{0, 0, 0, 0, 0, 0, 0, 0}}, // not aligned
		{0, nil}, {0, make([]byte, 3)}, {0, make([]byte, 16)}, // invalid widths
		{0xeff, []byte{0}}, {0xef8, make([]byte, 8)}, {0xf00, []byte{0}}, {math.MaxUint64 - 0x107, make([]byte, 8)},
	} {
		if got := read(config+c.off, len(c.want)); !bytes.Equal(got, c.want) {
			t.Errorf("%d bytes at %d: %v, want %v", len(c.want), c.off, got, c.want)
		}
	}
	for _, c := range []struct {
		off  uint64
		p    []byte
		want []byte
	}{
		{1, []byte{100}, []byte{0, 100, 2, 3, 4, 5, 6, 7, 8, 9}},
		{8, []byte{1, 2, 3, 4}, []byte{0, 100, 2, 3, 4, 5, 6, 7, 1, 2}},
		{0, []byte{9, 9, 9, 9, 9, 9, 9, 9}, []byte{9, 9, 9, 9, 9, 9, 9, 9, 1, 2}},
		{1, []byte{5, 5}, []byte{9, 9, 9, 9, 9, 9, 9, 9, 1, 2}},
		{12, []byte{5, 5, 5, 5}, []byte{9, 9, 9, 9, 9, 9, 9, 9, 1, 2}},
		{0xf00, []byte{5}, []byte{9, 9, 9, 9, 9, 9, 9, 9, 1, 2}},
		{math.MaxUint64 - 0xff, []byte{5}, []byte{9, 9, 9, 9, 9, 9, 9, 9, 1, 2}},
	} {
		g.Write(config+c.off, c.p)
		if got := g.dev.Config(); !bytes.Equal(got, c.want) {
			t.Errorf("%v written at %d: %v, want %v", c.p, c.off, got, c.want)
		}
	}
}

func TestConfigurationChange(t *testing.T) {
	g := newGuest(t)
	g.start(device.FeatureVersion1)
	for range 2 { // without an acknowledgement between the two
		before := g.get(configGeneration)
		g.dev.bus.ConfigChanged()
		if g.get(configGeneration) == before {
			t.Error("the generation did not change")
		}
		if !raised(g.call(0x30)) {
			t.Error("the driver got no interrupt")
		}
		g.want("interrupt status", g.get(interruptStatus), 2)
	}
	g.set(interruptACK, 1)
	g.want("interrupt status after another bit was acknowledged", g.get(interruptStatus), 2)
	g.set(interruptACK, 2)
	g.want("interrupt status after the acknowledgement", g.get(interruptStatus), 0)

	// The driver reads the configuration in parts. It changes twice in between,
	// without an interrupt.
	before := g.get(configGeneration)
	g.get(config)
	g.dev.SetConfig(0, []byte{1, 1, 1, 1, 1, 1, 1, 1})
	g.get(config + 4)
	g.dev.SetConfig(0, []byte{0, 1, 2, 3, 4, 5, 6, 7})
	if g.get(configGeneration) == before {
		t.Error("the generation did not change although the driver read two configurations")
	}
}

func TestInvalidAccessesHaveNoEffect(t *testing.T) {
	g := newGuest(t)
	g.agree(device.FeatureVersion1)
	for off := uint64(0); off < config; off++ {
		for _, n := range []int{1, 2, 3, 8} {
			p := bytes.Repeat([]byte{0xff}, n)
			g.Write(off, p)
			if g.Read(off, p); !bytes.Equal(p, make([]byte, n)) {
				t.Errorf("%d bytes at %#x: %v", n, off, p)
			}
		}
		if off%4 != 0 {
			g.set(off, math.MaxUint32)
			g.want(fmt.Sprintf("register %#x", off), g.get(off), 0)
		}
	}
	g.want("status", g.get(status), acknowledge|driver|featuresOK)
	for off := range uint64(16) {
		want := uint32(0)
		if off%4 == 0 {
			want = math.MaxUint32 // no shared memory region (§4.2.2)
		}
		g.want("shared memory", g.get(shmLen+off), want)
	}
	for _, i := range []uint32{2, math.MaxUint32} {
		g.set(mmio.QueueNotify, i) // a queue that does not exist
	}
}

func TestStaleBusHasNoEffect(t *testing.T) {
	g := newGuest(t)
	g.start(device.FeatureVersion1)
	stale := g.dev.bus
	g.set(status, 0)
	g.start(device.FeatureVersion1)
	stale.ConfigChanged()
	stale.Fail(errors.New("late"))
	g.want("status", g.get(status), allOK)
	g.want("interrupt status", g.get(interruptStatus), 0)
}

func TestClose(t *testing.T) {
	g := newGuest(t)
	g.start(device.FeatureVersion1)
	bus := g.dev.bus
	g.Close()
	g.Close()
	if g.dev.stops != 1 {
		t.Errorf("stopped %d times", g.dev.stops)
	}
	g.agree(device.FeatureVersion1)
	g.set(status, allOK)
	g.set(mmio.QueueNotify, 0)
	g.set(config, 1)
	g.want("magic", g.get(magic), 0)
	bus.ConfigChanged()
	bus.Fail(errors.New("late"))
	if g.dev.starts != 1 || g.Kick(0).Wait() {
		t.Error("the device started again, or its event still works, after Close")
	}
}

// A worker fails while the driver resets the device. Stop waits for the worker,
// and the worker waits for nothing.
func TestResetWhileTheDeviceFails(t *testing.T) {
	g := newGuest(t)
	for range 100 {
		entered, leave := make(chan bool), make(chan bool)
		g.dev.work = func(*virtqueue.Chain) error {
			entered <- true
			<-leave
			return errors.New("the disk is gone")
		}
		ds := g.start(device.FeatureVersion1)
		ds[0].Add([]virtqueuetest.Buffer{{Addr: buffers, Len: 1}}, nil)
		ds[0].Publish()
		g.set(mmio.QueueNotify, 0)
		<-entered
		reset := make(chan bool)
		go func() {
			g.set(status, 0)
			close(reset)
		}()
		close(leave)
		g.dev.bus.ConfigChanged()
		<-reset
		g.want("status", g.get(status), 0)
		g.want("interrupt status", g.get(interruptStatus), 0)
	}
}

func TestConcurrentAccesses(t *testing.T) {
	g := newGuest(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			for i := range 200 {
				g.agree(device.FeatureVersion1)
				g.setUp(uint32(i)%3, virtqueue.Layout{Size: 4, Desc: rings, Driver: rings + 0x400, Device: rings + 0x800})
				g.set(status, allOK)
				g.set(mmio.QueueNotify, uint32(i)%3)
				g.get(interruptStatus)
				g.get(config)
				g.set(config+4, uint32(i))
				g.get(configGeneration)
				g.set(status, 0)
			}
		})
	}
	all.Wait()
	if g.dev.starts != g.dev.stops {
		t.Errorf("%d starts, %d stops", g.dev.starts, g.dev.stops)
	}
}

func TestNotificationDoesNotAllocate(t *testing.T) {
	g := newGuest(t)
	g.start(device.FeatureVersion1 | device.FeatureEventIdx)
	p := make([]byte, 4)
	if n := testing.AllocsPerRun(1000, func() { g.Write(mmio.QueueNotify, p) }); n != 0 {
		t.Errorf("a notification: %v allocations", n)
	}
	call := g.call(0x40)
	if n := testing.AllocsPerRun(1000, call.Signal); n != 0 {
		t.Errorf("an interrupt: %v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { g.Read(interruptStatus, p) }); n != 0 {
		t.Errorf("a read: %v allocations", n)
	}
}

func TestNewRefusesInvalidDevices(t *testing.T) {
	for _, c := range []struct {
		name string
		dev  device.Device
		want string
	}{
		{"an old device", &odd{features: 1}, "VERSION_1"},
		{"a queue of size 0", &odd{features: device.FeatureVersion1, queues: []int{8, 0}}, "queue 1: 0 entries"},
		{"a size that is no power of two", &odd{features: device.FeatureVersion1, queues: []int{7}}, "queue 0: 7 entries"},
		{"a long queue", &odd{features: device.FeatureVersion1, queues: []int{1 << 16}}, "65536 entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := mmio.New(c.dev, &router{}, t.Logf); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

type odd struct {
	echo
	features uint64
	queues   []int
}

func (o *odd) Features() uint64 { return o.features }
func (o *odd) Queues() []int    { return o.queues }
