package virtio_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// memory maps addresses to the registers of devices.
type memory map[uint64]virtio.Registers

func (m memory) Map(addr uint64, size int) (virtio.Registers, linux.Errno) {
	if r, ok := m[addr]; ok {
		return r, 0
	}
	return nothing{}, 0
}

// nothing is an address without a device.
type nothing struct{}

func (nothing) Read(off, width int) uint32     { return 0xffffffff }
func (nothing) Write(off, width int, v uint32) {}

// bus is the configuration space of PCI functions.
type bus map[virtio.Function]*virtiotest.PCI

func (b bus) Read(f virtio.Function, off int) uint32 {
	if p := b[f]; p != nil {
		return p.Config(off)
	}
	return 0xffffffff
}

func (b bus) Write(f virtio.Function, off int, v uint32) {
	if p := b[f]; p != nil {
		p.SetConfig(off, v)
	}
}

func (b bus) Map(addr uint64, size int) (virtio.Registers, linux.Errno) {
	for _, p := range b {
		if w, errno := p.Window(addr, size); errno == 0 {
			return w, 0
		}
	}
	return nil, linux.EFAULT
}

func only(t testing.TB, found []virtio.Transport) virtio.Transport {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("found %d devices, want 1", len(found))
	}
	return found[0]
}

// transports are the transports of a device. All must behave the same.
var transports = []struct {
	name string
	to   func(t testing.TB, d *virtiotest.Device) virtio.Transport
}{
	{"mmio feb00e00", func(t testing.TB, d *virtiotest.Device) virtio.Transport {
		m := memory{0xfeb00e00: virtiotest.NewMMIO(d, 12)}
		return only(t, virtio.NamedDevices([]string{"virtio_mmio.device=512@0xfeb00e00:12"}, m.Map))
	}},
	{"mmio d0000000", func(t testing.TB, d *virtiotest.Device) virtio.Transport {
		m := virtiotest.NewMMIO(d, 0)
		m.Messages = 3
		return only(t, virtio.NamedDevices([]string{"virtio_mmio.device=4K@0xd0000000:0"}, memory{0xd0000000: m}.Map))
	}},
	{"pci 00:1f.0", func(t testing.TB, d *virtiotest.Device) virtio.Transport {
		b := bus{0x1f << 3: virtiotest.NewPCI(d, 0x4000_0000_0000, 4)}
		return only(t, virtio.PCIDevices(b, b.Map))
	}},
	{"pci 00:00.0", func(t testing.TB, d *virtiotest.Device) virtio.Transport {
		b := bus{0: virtiotest.NewPCI(d, 0xfe000000, 1)} // one vector for everything
		return only(t, virtio.PCIDevices(b, b.Map))
	}},
	{"pci 00:01.0", func(t testing.TB, d *virtiotest.Device) virtio.Transport {
		b := bus{1 << 3: virtiotest.NewPCI(d, 0xfe000000, 2)} // a vector for the queues and one for the configuration
		return only(t, virtio.PCIDevices(b, b.Map))
	}},
	{"pci 00:02.0", func(t testing.TB, d *virtiotest.Device) virtio.Transport {
		b := bus{2 << 3: virtiotest.NewPCI(d, 0xfe000000, 0)} // no vector, but an interrupt line
		return only(t, virtio.PCIDevices(b, b.Map))
	}},
}

func TestEveryTransportBringsADeviceUp(t *testing.T) {
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			dev := virtiotest.New(virtio.IDConsole, 1<<3|1<<50, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 8, 16, 0)
			transport := tr.to(t, dev)
			if transport.Name() != tr.name || transport.DeviceID() != virtio.IDConsole {
				t.Errorf("the transport is %s with device ID %d", transport.Name(), transport.DeviceID())
			}
			d, errno := virtio.Open(transport, 1<<3|1<<50|1<<51)
			if errno != 0 {
				t.Fatal(errno.Name())
			}
			if dev.Accepted() != 1<<3|1<<50|virtio.FeatureVersion1|virtio.FeatureIndirect|virtio.FeatureEventIndex {
				t.Errorf("the driver accepted features %#x", dev.Accepted())
			}
			var queues []*virtio.Queue
			for i, size := range []int{8, 16} {
				q, errno := d.NewQueue(i, 64)
				if errno != 0 || q.Size() != size {
					t.Fatalf("NewQueue(%d): %v, or it has the wrong size", i, errno.Name())
				}
				queues = append(queues, q)
			}
			for _, i := range []int{2, 3} {
				if _, errno := d.NewQueue(i, 64); errno != linux.ENODEV {
					t.Errorf("queue %d: %v", i, errno.Name())
				}
			}
			changed := make(chan byte, 1)
			d.OnConfig(func() {
				var b [1]byte
				d.Config(9, b[:])
				changed <- b[0]
			})
			if errno := d.Start(); errno != 0 {
				t.Fatal(errno.Name())
			}
			if s := dev.Status(); s != 1|2|4|8 {
				t.Errorf("status is %d after Start, want 15", s)
			}

			for _, n := range []int{1, 2, 4, 6, 8} {
				p := make([]byte, n)
				if !d.Config(0, p) || !bytes.Equal(p, []byte{0, 1, 2, 3, 4, 5, 6, 7}[:n]) {
					t.Errorf("Config returned %v", p)
				}
			}
			if d.Config(-1, make([]byte, 1)) || d.Config(1<<20, make([]byte, 1)) {
				t.Error("Config succeeded outside the configuration")
			}
			dev.Change(func(config []byte) { config[9] = 99 })
			if b := <-changed; b != 99 {
				t.Errorf("the changed byte reads as %d, want 99", b)
			}
			changedByDriver := make(chan bool, 1)
			dev.OnConfig(func() { changedByDriver <- true })
			if !d.SetConfig(4, []byte{8, 7, 6, 5}) || !<-changedByDriver {
				t.Error("SetConfig failed or did not reach the device")
			}
			p := make([]byte, 2)
			if d.Config(6, p); p[0] != 6 || p[1] != 5 {
				t.Errorf("Config returned %v after 6 5 was written", p)
			}

			mem := alloc(t, 128)
			for i, q := range queues {
				dev.Queue(i).Serve(func(c *virtiotest.Chain) int { return c.Fill(bytes.ToUpper(c.Bytes())) })
				for range 50 {
					copy(mem.Mem, "hello")
					if !q.Add(buffers(mem.Slice(0, 5)), buffers(mem.Slice(64, 128)), i) {
						t.Fatal("Add failed: the queue is full")
					}
					q.Kick()
					if !q.Wait() {
						t.Fatal("broken")
					}
					if token, n, ok := q.Take(); !ok || token != i || string(mem.Mem[64:64+n]) != "HELLO" {
						t.Fatalf("Take returned token %d, %d bytes, %v", token, n, ok)
					}
				}
			}
			done := make(chan bool)
			for _, q := range queues {
				go func() { done <- q.Wait() }()
			}
			d.Shutdown()
			for range queues {
				if <-done {
					t.Error("Wait returned true after Shutdown")
				}
			}
			if s := dev.Status(); s != 0 {
				t.Errorf("status is %d after Shutdown, want 0", s)
			}
			if _, errno := virtio.Open(transport, 0); errno != 0 {
				t.Errorf("opening the device again: %v", errno.Name())
			}
		})
	}
}

func TestManyQueuesShareAnInterrupt(t *testing.T) {
	const queues = 20
	sizes := make([]int, queues)
	for i := range sizes {
		sizes[i] = 8
	}
	dev := virtiotest.New(1, 0, nil, sizes...)
	b := bus{0: virtiotest.NewPCI(dev, 0xfe000000, queues+1)}
	d, errno := virtio.Open(only(t, virtio.PCIDevices(b, b.Map)), 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var all []*virtio.Queue
	for i := range queues {
		q, errno := d.NewQueue(i, 8)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		all = append(all, q)
	}
	if errno := d.Start(); errno != 0 {
		t.Fatal(errno.Name())
	}
	defer d.Shutdown()
	mem := alloc(t, 1)
	for i, q := range all {
		q.Add(buffers(mem), nil, i)
		c, _ := dev.Queue(i).Pop()
		dev.Queue(i).Push(c, 0)
		if !q.Wait() {
			t.Fatal("broken")
		}
		if token, _, ok := q.Take(); !ok || token != i {
			t.Errorf("queue %d: Take returned token %d, %v", i, token, ok)
		}
	}
}

func TestADeviceMayAcceptTooFewMessages(t *testing.T) {
	for messages, want := range map[int][3]linux.Errno{3: {}, 2: {2: linux.ENOSPC}, 1: {1: linux.ENOSPC, 2: linux.ENOSPC}} {
		virtio.CaptureReports(t)
		m := virtiotest.NewMMIO(virtiotest.New(1, 0, nil, 8, 8), 0)
		m.Messages = messages
		d, errno := virtio.Open(only(t, virtio.NamedDevices([]string{"virtio_mmio.device=4K@0xd0000000:0"}, memory{0xd0000000: m}.Map)), 0)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		var got [3]linux.Errno
		for i := range 2 {
			_, got[i] = d.NewQueue(i, 8)
		}
		d.OnConfig(func() {})
		got[2] = d.Start()
		if got != want {
			t.Errorf("device that accepts %d messages: errors %v, want %v", messages, got, want)
		}
		d.Shutdown()
	}
}

func TestNamedDevices(t *testing.T) {
	reports := virtio.CaptureReports(t)
	legacy := virtiotest.NewMMIO(virtiotest.New(2, 0, nil), 8)
	legacy.Version = 1
	m := memory{
		0xfeb00000:    virtiotest.NewMMIO(virtiotest.New(1, 0, nil), 5),
		0xfeb00200:    virtiotest.NewMMIO(virtiotest.New(0, 0, nil), 6),
		0x4_0000_0000: virtiotest.NewMMIO(virtiotest.New(4, 0, nil), 7),
		0xd0000000:    legacy,
	}
	found := virtio.NamedDevices([]string{
		"acpi.something=1",
		"virtio_mmio.device=512@0xfeb00000:5",
		"virtio_mmio.device=0x200@0xfeb00200:6", // an empty slot
		"virtio_mmio.device=4K@0x400000000:7:3",
		"virtio_mmio.device=512@0xfeb00400:7", // no device
		"virtio_mmio.device=1K@0xd0000000:8",
	}, m.Map)
	var names []string
	for _, d := range found {
		names = append(names, d.Name())
	}
	if want := []string{"mmio feb00000", "mmio 400000000"}; !slices.Equal(names, want) {
		t.Errorf("found %v, want %v", names, want)
	}
	if line := <-reports; !strings.Contains(line, "d0000000 (virtio 2) is a legacy device") {
		t.Errorf("reported %q", line)
	}
	for _, param := range []string{"", "512", "512@", "512@0xfeb00000", "512@0xfeb00000:", "512@0xfeb00000:x", "x@0xfeb00000:5",
		"256@0:5", "255@0xfeb00000:5", "2M@0xfeb00000:5", "512@0xfeb00001:5", "512@0xfffffffffffff:5",
		"512@0xffffffffffffff00:5", "512@0xfeb00000:4294967296", "K@0xfeb00000:5", "-512@0xfeb00000:5"} {
		if found := virtio.NamedDevices([]string{"virtio_mmio.device=" + param}, m.Map); found != nil {
			t.Errorf("%q: found device %v, want none", param, found[0].Name())
		}
		if line := <-reports; !strings.HasSuffix(line, "virtio_mmio.device=SIZE@ADDRESS:GSI\n") {
			t.Errorf("%q: reported %q", param, line)
		}
	}
}

func TestMicrovmAddressesAndPins(t *testing.T) {
	for _, c := range []struct {
		name  string
		slots int
		acpi  bool
		base  uint32
	}{{"no ACPI", 8, false, 5}, {"one I/O APIC", 8, true, 16}, {"two", 24, true, 24}} {
		t.Run(c.name, func(t *testing.T) {
			m := memory{}
			var last *virtiotest.Device
			for i := range c.slots {
				id := uint32(0)
				if i == 1 || i == c.slots-1 {
					id = 3
				}
				last = virtiotest.New(id, 0, nil, 8)
				m[0xfeb00000+0x200*uint64(i)] = virtiotest.NewMMIO(last, c.base+uint32(i))
			}
			found := virtio.MicrovmDevices(m.Map, c.acpi)
			if len(found) != 2 {
				t.Fatalf("found %d devices, want 1", len(found))
			}
			_, q := openTransport(t, found[1])
			q.Add(buffers(alloc(t, 1)), nil, 0)
			chain, _ := last.Queue(0).Pop()
			last.Queue(0).Push(chain, 0)
			if !q.Wait() { // returns only if the interrupt comes by the right pin
				t.Error("Wait: the queue is broken")
			}
		})
	}
}

func openTransport(t testing.TB, transport virtio.Transport) (*virtio.Device, *virtio.Queue) {
	t.Helper()
	d, errno := virtio.Open(transport, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	q, errno := d.NewQueue(0, 256)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := d.Start(); errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.Shutdown)
	return d, q
}

func TestBusesBehindBridgesAreScannedOnce(t *testing.T) {
	b := bus{}
	base := uint64(0xfe000000)
	device := func(f virtio.Function) *virtiotest.PCI {
		b[f] = virtiotest.NewPCI(virtiotest.New(1, 0, nil, 8), base, 2)
		base += 0x10000
		return b[f]
	}
	bridge := func(f virtio.Function, to byte) {
		p := device(f)
		copy(p.Space[:], []byte{0x86, 0x80, 0x34, 0x12})
		p.Space[0x0e] |= 1
		p.Space[0x19] = to
	}
	device(1 << 3)
	device(2 << 3).Space[0x0e] = 0x80
	device(2<<3 | 7)
	device(3 << 3)
	device(3<<3 | 1) // function 1 of a single-function device: must be ignored
	bridge(4<<3, 1)
	bridge(5<<3, 1) // the same bus
	bridge(6<<3, 0) // back to the root
	device(1 << 8)
	bridge(1<<8|1<<3, 255)
	bridge(255<<8|31<<3, 1)
	device(255 << 8)

	var names []string
	for _, d := range virtio.PCIDevices(b, b.Map) {
		names = append(names, d.Name())
	}
	if want := []string{"pci 00:01.0", "pci 00:02.0", "pci 00:02.7", "pci 00:03.0", "pci 01:00.0", "pci ff:00.0"}; !slices.Equal(names, want) {
		t.Errorf("found %v of the functions %v", names, slices.Sorted(maps.Keys(b)))
	}
}

// Offsets of virtiotest's capabilities.
const capMSIX, capCommon, capNotify, capConfig = 0x40, 0x4c, 0x60, 0x74

func TestAnInterruptLineServesOneDevice(t *testing.T) {
	reports := virtio.CaptureReports(t)
	b := bus{
		1 << 3: virtiotest.NewPCI(virtiotest.New(5, 0, nil, 8), 0xfe000000, 0),
		2 << 3: virtiotest.NewPCI(virtiotest.New(5, 0, nil, 8), 0xfe010000, 2),
		3 << 3: virtiotest.NewPCI(virtiotest.New(5, 0, nil, 8), 0xfe020000, 0),
	}
	if found := virtio.PCIDevices(b, b.Map); len(found) != 2 {
		t.Errorf("found %d devices, want 2", len(found))
	}
	if line := <-reports; !strings.Contains(line, "00:03.0 cannot be used: it has neither message-signalled interrupts") {
		t.Errorf("reported %q", line)
	}
}

func TestDamagedPCIDevicesAreRefused(t *testing.T) {
	put := func(off int, b ...byte) func(*virtiotest.PCI) {
		return func(p *virtiotest.PCI) { copy(p.Space[off:], b) }
	}
	for _, c := range []struct {
		name   string
		damage func(p *virtiotest.PCI)
		want   string // "": the device is usable
	}{
		{"nothing", put(0), ""},
		{"a list that is a loop", put(capConfig+1, capMSIX), ""},
		{"a capability that points to itself", put(capMSIX+1, capMSIX), "legacy"},
		{"a list that leads into the header", put(capMSIX+1, 0x10), "legacy"},
		{"a list that leads beyond the end", put(capMSIX+1, 0xfc), "legacy"},
		{"no list", put(0x06, 0), "legacy"},
		{"an empty list", put(0x34, 0), "legacy"},
		{"no MSI-X", put(capMSIX, 0xff), "MSI-X"},
		{"a table in no base address register", put(capMSIX+4, 7), "at invalid addresses"},
		{"a table in another one", put(capMSIX+4, 5), "at invalid addresses"},
		{"a common configuration in none", put(capCommon+4, 200), "at invalid addresses"},
		{"a common configuration beyond its register", put(capCommon+8, 0, 0, 0, 1), "EFAULT"},
		{"a common configuration that is not aligned", put(capCommon+8, 2), "at invalid addresses"},
		{"a common configuration that is short", put(capCommon+12, 0x34, 0), "at invalid addresses"},
		{"a notification of one byte", put(capNotify+12, 1, 0), "at invalid addresses"},
		{"a register that is unset", put(0x20, 4, 0, 0, 0, 0, 0, 0, 0), "at invalid addresses"},
		{"a register beyond memory", put(0x24, 0, 0, 0x10, 0), "at invalid addresses"},
		{"a register of ports", put(0x20, 1), "at invalid addresses"},
		{"a length beyond memory", put(0x20, 0xf4, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0), "at invalid addresses"},
		{"no device configuration", put(capConfig, 0xff), ""},
		{"no virtio device", put(2, 0x80, 0x10), "nothing"},
		{"a transitional device", func(p *virtiotest.PCI) { p.Space[2], p.Space[3], p.Space[0x2e] = 5, 0x10, 4 }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			reports := virtio.CaptureReports(t)
			p := virtiotest.NewPCI(virtiotest.New(1, 0, nil, 8), 0xfe000000, 2)
			c.damage(p)
			b := bus{3 << 3: p}
			found := virtio.PCIDevices(b, b.Map)
			switch {
			case c.want == "":
				only(t, found)
			case found != nil:
				t.Errorf("the device is used as %s", found[0].Name())
			case c.want == "nothing":
			default:
				if line := <-reports; !strings.Contains(line, c.want) || !strings.Contains(line, "00:03.0") {
					t.Errorf("reported %q", line)
				}
			}
			if len(reports) > 0 {
				t.Errorf("reported %q", <-reports)
			}
		})
	}
}

// FuzzPCIConfiguration runs a device that lies in its configuration space and
// its registers. All accesses must stay within what was mapped, and every call
// must end.
func FuzzPCIConfiguration(f *testing.F) {
	honest := virtiotest.NewPCI(virtiotest.New(1, 0, nil, 8), 0xfe000000, 2)
	virtio.Impatient()
	f.Add(honest.Space[:], []byte{})
	f.Add(honest.Space[:], []byte{0xff, 1, 2, 3, 0, 0})
	f.Fuzz(func(t *testing.T, space, registers []byte) {
		virtio.CaptureReports(t)
		defer platform.HostedForgetDMA()
		c := lyingSpace(space)
		m := func(addr uint64, size int) (virtio.Registers, linux.Errno) {
			if addr == 0 || addr+uint64(size) > 1<<52 || size <= 0 || size > 16<<20 {
				t.Fatalf("the driver maps %d bytes at %#x", size, addr)
			}
			return &lyingRegisters{t: t, size: size, script: registers}, 0
		}
		for i, transport := range virtio.PCIDevices(c, m) {
			if i < 4 {
				useLyingTransport(transport)
			}
		}
	})
}

// lyingSpace is one configuration space for a few functions of every bus.
type lyingSpace []byte

func (s lyingSpace) Read(f virtio.Function, off int) uint32 {
	if f>>3&31 > 1 {
		return 0xffffffff
	}
	var v uint32
	for i := range 4 {
		if off+i < len(s) {
			v |= uint32(s[off+i]) << (8 * i)
		}
	}
	return v
}

func (s lyingSpace) Write(virtio.Function, int, uint32) {}

// lyingRegisters read as the script says.
type lyingRegisters struct {
	t      testing.TB
	size   int
	script []byte
	next   int
}

func (r *lyingRegisters) check(off, width int) {
	if off < 0 || off+width > r.size || off%width != 0 {
		r.t.Fatalf("invalid access of %d bytes at %#x of %#x", width, off, r.size)
	}
}

func (r *lyingRegisters) Read(off, width int) uint32 {
	r.check(off, width)
	if len(r.script) == 0 {
		return 0
	}
	var v uint32
	for i := range width {
		v |= uint32(r.script[r.next%len(r.script)]) << (8 * i)
		r.next++
	}
	return v
}

func (r *lyingRegisters) Write(off, width int, v uint32) { r.check(off, width) }

func useLyingTransport(transport virtio.Transport) {
	d, errno := virtio.Open(transport, 0)
	if errno != 0 {
		return
	}
	for _, n := range []int{1, 2, 4, 6, 8} {
		d.Config(n, make([]byte, n))
		d.SetConfig(n, make([]byte, n))
	}
	for i := range 3 {
		if q, errno := d.NewQueue(i, 8); errno == 0 {
			q.Kick()
			d.Notify(i)
		}
	}
	d.AckInterrupt()
	d.Start()
	d.Shutdown()
}

// FuzzMMIORegisters runs a device that lies in all of its registers.
func FuzzMMIORegisters(f *testing.F) {
	virtio.Impatient()
	f.Add(uint16(512), []byte("virt\x01\x00\x00\x00\x02\x00\x00\x00"))
	f.Add(uint16(256), []byte("virt\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, size uint16, registers []byte) {
		virtio.CaptureReports(t)
		defer platform.HostedForgetDMA()
		m := func(addr uint64, size int) (virtio.Registers, linux.Errno) {
			return &lyingRegisters{t: t, size: size, script: registers}, 0
		}
		param := fmt.Sprintf("virtio_mmio.device=%d@0xfeb00000:5", size)
		for _, transport := range virtio.NamedDevices([]string{param}, m) {
			useLyingTransport(transport)
		}
	})
}
