package mmio_test

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/mmio"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// FuzzTransport runs an arbitrary driver on two vCPUs. It makes accesses of any
// width at any offset, sets up queues at any address with any contents, and
// resets the device while it works. Nothing may panic or hang. Start and Stop
// must alternate. After a reset nothing may touch guest memory, and a correct
// driver must work.
//
// A script is a sequence of operations. Each is a byte and its operands.
func FuzzTransport(f *testing.F) {
	ram, err := unix.Mmap(-1, 0, ramSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{opStart, 3, opChain, 0, 0, 16, 1, opNotify, 0, opReset}, []byte{})
	f.Add([]byte{opStart, 3, opMemory, 0x10, 0x82, 200, opNotify, 0, opConfig, 2}, []byte{opNotify, 1, opReset, opStart, 1})
	f.Add([]byte{opWrite, status / 4, 1, opWrite, status / 4, 3, opWrite, driverFeaturesSel / 4, 1, opWrite, driverFeatures / 4, 1,
		opWrite, status / 4, 11, opWrite, queueNum / 4, 8, opWrite, queueReady / 4, 1, opWrite, status / 4, 15}, []byte{opRead, config / 4, 3, opFail})
	f.Add([]byte{opStart, 3, opChain, 0, 7, 255, 7, opNotify, 0, opWrite, messageData / 4, 0, opAccess, 0xff, 8, 1}, []byte{opStart, 0, opChain, 1, 3, 2, 1, opNotify, 1})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		clear(ram)
		mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: ram}})
		if err != nil {
			t.Fatal(err)
		}
		dev := &turns{echo: echo{mem: mem, config: make([]byte, 10)}, t: t}
		g := &guest{TB: t, ram: ram, dev: &dev.echo, router: &router{}}
		if g.Transport, err = mmio.New(dev, g.router, func(string, ...any) {}); err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		var cpus sync.WaitGroup
		for _, script := range [][]byte{one, two} {
			cpus.Go(func() { (&player{g: g, dev: dev, script: script}).play() })
		}
		cpus.Wait()

		g.set(status, 0)
		if dev.started() {
			t.Error("the device is started after a reset")
		}
		clear(ram)
		g.router.routed = nil
		for i, d := range g.start(device.FeaturesOfQueues) {
			g.exchange(i, d, "hello", g.notify(i))
		}
	})
}

// turns is an echo device that checks that Start and Stop alternate.
type turns struct {
	echo
	t *testing.T

	mu  sync.Mutex
	bus device.Bus // nil while stopped
}

func (d *turns) Start(features uint64, queues []device.Queue, bus device.Bus) error {
	if features&^d.Features() != 0 || features&device.FeatureVersion1 == 0 {
		d.t.Errorf("Start with features %#x", features)
	}
	for i, max := range d.Queues() {
		if n := queues[i].Size; n < 0 || n > max || n&(n-1) != 0 {
			d.t.Errorf("queue %d: %d entries", i, n)
		}
	}
	if err := d.echo.Start(features, queues, bus); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bus != nil {
		d.t.Error("Start of a started device")
	}
	d.bus = bus
	return nil
}

func (d *turns) Stop() {
	d.echo.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bus == nil {
		d.t.Error("Stop of a stopped device")
	}
	d.bus = nil
}

func (d *turns) started() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bus != nil
}

// withBus calls f with the bus if the device is started.
func (d *turns) withBus(f func(device.Bus)) {
	d.mu.Lock()
	b := d.bus
	d.mu.Unlock()
	if b != nil {
		f(b)
	}
}

const (
	opRead   = iota // register
	opWrite         // register, value
	opAccess        // offset (two bytes), width, the bytes of the value
	opReset
	opStart  // accepted features
	opChain  // queue, descriptors, length, flags
	opMemory // address (high byte, low byte), value
	opNotify // queue
	opConfig // offset, value
	opFail
	opQueue // queue, address, size
	ops
)

// player is a vCPU of the guest.
type player struct {
	g      *guest
	dev    *turns
	script []byte
}

func (p *player) next() uint64 {
	if len(p.script) == 0 {
		return 0
	}
	b := p.script[0]
	p.script = p.script[1:]
	return uint64(b)
}

// value returns a number. Small numbers, powers of two and the largest numbers
// are likely.
func (p *player) value() uint32 {
	v := uint32(p.next())
	if v >= 0xf0 {
		return uint32(int32(int8(v))) // close to the largest number
	}
	if v >= 0xe0 {
		return 1 << (2 * (v - 0xe0))
	}
	return v
}

func (p *player) play() {
	g := p.g
	for len(p.script) > 0 {
		switch p.next() % ops {
		case opRead:
			g.get(4 * p.next())
		case opWrite:
			g.set(4*p.next(), p.value())
		case opAccess:
			off, b := p.next()<<4|p.next()&15, make([]byte, p.next()%17)
			g.Read(off, b)
			for i := range b {
				b[i] = byte(p.next())
			}
			g.Write(off, b)
		case opReset:
			g.set(status, 0)
		case opStart:
			features := p.next()
			g.agree(device.FeatureVersion1 | features&1*device.FeatureEventIdx | features>>1&1*device.FeatureIndirect)
			for i := range uint32(2) {
				g.setUp(i, p.layout(rings+uint64(i)*ringGap, 4))
			}
			g.set(status, allOK)
		case opChain:
			p.chain(p.next()&1, p.next(), p.next(), p.next())
		case opMemory:
			at := (p.next()<<8 | p.next()) % (ramSize - 4)
			binary.LittleEndian.PutUint32(g.ram[at:], p.value())
		case opNotify:
			g.set(mmio.QueueNotify, p.value())
			runtime.Gosched()
		case opConfig:
			p.dev.SetConfig(int(p.next()%10), []byte{byte(p.next())})
			p.dev.withBus(device.Bus.ConfigChanged)
		case opFail:
			p.dev.withBus(func(b device.Bus) { b.Fail(unix.EIO) })
		case opQueue:
			g.setUp(uint32(p.next()&3), p.layout(p.next()<<8, 1<<(p.next()&15)))
		}
	}
}

func (p *player) layout(at uint64, size int) virtqueue.Layout {
	return virtqueue.Layout{Size: size, Desc: at, Driver: at + 0x400, Device: at + 0x800}
}

// chain makes a chain of descriptors available on a queue that opStart has set
// up.
func (p *player) chain(queue, n, length, flags uint64) {
	ram := p.g.ram[rings+queue*ringGap:]
	for i := range n % 5 {
		d := ram[16*i:]
		binary.LittleEndian.PutUint64(d, buffers+length<<8)
		binary.LittleEndian.PutUint32(d[8:], uint32(length))
		binary.LittleEndian.PutUint16(d[12:], uint16(flags>>i&3))
		binary.LittleEndian.PutUint16(d[14:], uint16(i+1))
	}
	avail := ram[0x400:]
	binary.LittleEndian.PutUint16(avail[2:], binary.LittleEndian.Uint16(avail[2:])+1)
}
