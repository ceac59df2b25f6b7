package mmio_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/mmio"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

// Registers (virtio 1.2 §4.2.2), and the registers of the extension for
// message-signalled interrupts.
const (
	magic             = 0x000
	version           = 0x004
	deviceID          = 0x008
	vendorID          = 0x00c
	deviceFeatures    = 0x010
	deviceFeaturesSel = 0x014
	driverFeatures    = 0x020
	driverFeaturesSel = 0x024
	queueSel          = 0x030
	queueNumMax       = 0x034
	queueNum          = 0x038
	queueReady        = 0x044
	interruptStatus   = 0x060
	interruptACK      = 0x064
	status            = 0x070
	queueDesc         = 0x080
	queueDriver       = 0x090
	queueDevice       = 0x0a0
	shmLen            = 0x0b0
	messageAddr       = 0x0d0
	messageData       = 0x0d8
	configGeneration  = 0x0fc
	config            = 0x100
)

// Status bits (§2.1).
const (
	acknowledge = 1
	driver      = 2
	driverOK    = 4
	featuresOK  = 8
	needsReset  = 64
	failed      = 128
)

const (
	ramSize = 1 << 18
	rings   = 0x1000 // queue 0; the others follow
	ringGap = 0x1000
	buffers = 0x8000
)

// newRAM returns guest memory. It is mapped, like that of a monitor, so the
// race detector ignores it: driver and device access it concurrently by design.
func newRAM(t testing.TB) []byte {
	t.Helper()
	ram, err := unix.Mmap(-1, 0, ramSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(ram); err != nil {
			t.Error(err)
		}
	})
	return ram
}

// echo is a device with two queues. It answers each chain with the bytes of the
// chain.
type echo struct {
	mem      *virtqueue.Memory
	startErr error
	work     func(c *virtqueue.Chain) error // extra work for each chain; may be nil

	mu     sync.Mutex
	config []byte

	features uint64 // of the last Start
	layouts  []virtqueue.Layout
	bus      device.Bus
	workers  []*device.Worker
	starts   int
	stops    int
}

func newEcho(t testing.TB, ram []byte) *echo {
	t.Helper()
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: ram}})
	if err != nil {
		t.Fatal(err)
	}
	return &echo{mem: mem, config: []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}
}

func (e *echo) ID() uint32       { return device.IDConsole }
func (e *echo) Features() uint64 { return device.FeaturesOfQueues | 1<<5 }
func (e *echo) Queues() []int    { return []int{8, 4} }

func (e *echo) Config() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.config
}

func (e *echo) SetConfig(off int, p []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.config = bytes.Clone(e.config)
	if n := copy(e.config[off:], p); n < len(p) {
		panic("a write beyond the configuration")
	}
}

func (e *echo) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	e.features, e.bus, e.layouts, e.workers = features, bus, nil, nil
	if e.startErr != nil {
		return e.startErr
	}
	for _, q := range queues {
		e.layouts = append(e.layouts, q.Layout)
		if q.Size == 0 {
			continue
		}
		w, err := device.NewWorker(e.mem, q, features)
		if err != nil {
			return err
		}
		e.workers = append(e.workers, w)
	}
	for _, w := range e.workers {
		w.Run(bus, func(c *virtqueue.Chain) (int, error) {
			if e.work != nil {
				if err := e.work(c); err != nil {
					return 0, err
				}
			}
			if len(c.Out) == 0 || len(c.In) == 0 {
				return 0, nil
			}
			return copy(c.In[0], c.Out[0]), nil
		})
	}
	e.starts++
	return nil
}

func (e *echo) Stop() {
	for _, w := range e.workers {
		w.Stop()
	}
	e.stops++
}

// router records the routes.
type router struct {
	err    error
	routed []route
}

type route struct {
	call *event.Event
	addr uint64
	data uint32
}

func (r *router) Route(call *event.Event, addr uint64, data uint32) error {
	r.routed = append(r.routed, route{call, addr, data})
	return r.err
}

// guest is the driver of an echo device.
type guest struct {
	testing.TB
	*mmio.Transport
	dev    *echo
	ram    []byte
	router *router

	mu     sync.Mutex
	logged []string
}

func newGuest(t testing.TB) *guest {
	t.Helper()
	ram := newRAM(t)
	g := &guest{TB: t, ram: ram, dev: newEcho(t, ram), router: &router{}}
	var err error
	g.Transport, err = mmio.New(g.dev, g.router, func(format string, args ...any) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.logged = append(g.logged, fmt.Sprintf(format, args...))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// log returns what the transport has logged.
func (g *guest) log() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logged
}

func (g *guest) get(off uint64) uint32 {
	var p [4]byte
	g.Read(off, p[:])
	return binary.LittleEndian.Uint32(p[:])
}

func (g *guest) set(off uint64, v uint32) {
	var p [4]byte
	binary.LittleEndian.PutUint32(p[:], v)
	g.Write(off, p[:])
}

func (g *guest) want(what string, got, want uint32) {
	g.Helper()
	if got != want {
		g.Errorf("%s: %#x, want %#x", what, got, want)
	}
}

func (g *guest) accept(features uint64) {
	for i := range uint32(2) {
		g.set(driverFeaturesSel, i)
		g.set(driverFeatures, uint32(features>>(32*i)))
	}
}

// agree initializes the device up to FEATURES_OK. Queues can be set up next.
func (g *guest) agree(features uint64) {
	g.set(status, acknowledge)
	g.set(status, acknowledge|driver)
	g.accept(features)
	g.set(status, acknowledge|driver|featuresOK)
}

// setUp sets up queue i and routes its interrupt.
func (g *guest) setUp(i uint32, l virtqueue.Layout) {
	g.set(queueSel, i)
	g.set(queueNum, uint32(l.Size))
	for _, part := range []struct {
		reg  uint64
		addr uint64
	}{{queueDesc, l.Desc}, {queueDriver, l.Driver}, {queueDevice, l.Device}} {
		g.set(part.reg, uint32(part.addr))
		g.set(part.reg+4, uint32(part.addr>>32))
	}
	g.set(queueReady, 1)
	g.message(i, 0xfee00000, 0x40+i)
}

func (g *guest) message(queue uint32, addr uint64, data uint32) {
	g.set(queueSel, queue)
	g.set(messageAddr, uint32(addr))
	g.set(messageAddr+4, uint32(addr>>32))
	g.set(messageData, data)
}

const allOK = acknowledge | driver | featuresOK | driverOK

// start initializes the device with both queues. It returns the queues'
// drivers.
func (g *guest) start(features uint64) []*virtqueuetest.Driver {
	g.Helper()
	g.agree(features)
	var ds []*virtqueuetest.Driver
	for i, n := range g.dev.Queues() {
		d := virtqueuetest.New(g.dev.mem, rings+uint64(i)*ringGap, n, features&device.FeatureEventIdx != 0)
		g.setUp(uint32(i), d.Layout)
		ds = append(ds, d)
	}
	g.message(math.MaxUint32, 0xfee01000, 0x30)
	g.set(status, allOK)
	g.want("status", g.get(status), allOK)
	return ds
}

// call returns the event that raises the interrupt with data.
func (g *guest) call(data uint32) *event.Event {
	g.Helper()
	for i := len(g.router.routed) - 1; i >= 0; i-- {
		if r := g.router.routed[i]; r.data == data {
			return r.call
		}
	}
	g.Fatalf("no event raises the interrupt %#x", data)
	return nil
}

// raised reports whether call was signalled since the last call of raised.
func raised(call *event.Event) bool {
	var count [8]byte
	_, err := unix.Read(call.FD(), count[:])
	return err == nil
}

// exchange sends s on queue i and checks the echo. It calls notify if the
// device wants a notification.
func (g *guest) exchange(i int, d *virtqueuetest.Driver, s string, notify func()) {
	g.Helper()
	out := virtqueuetest.Buffer{Addr: buffers + uint64(i)*256, Len: uint32(len(s))}
	in := virtqueuetest.Buffer{Addr: out.Addr + 128, Len: 100}
	copy(d.Bytes(out), s)
	if _, ok := d.Add([]virtqueuetest.Buffer{out}, []virtqueuetest.Buffer{in}); !ok {
		g.Fatal("full")
	}
	d.Listen()
	if d.Publish() {
		notify()
	}
	for { // an interrupt may belong to an earlier chain
		if _, n, ok := d.Take(); ok {
			if got := string(d.Bytes(in)[:n]); got != s {
				g.Fatalf("queue %d: %q, want %q", i, got, s)
			}
			return
		}
		if !g.call(0x40 + uint32(i)).Wait() {
			g.Fatal("no interrupt: the event is stopped")
		}
	}
}

func (g *guest) notify(i int) func() { return func() { g.set(mmio.QueueNotify, uint32(i)) } }
