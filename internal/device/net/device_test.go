package net

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/net/backend"
	"github.com/pith-os/pith/internal/device/net/feature"
	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

const (
	memSize  = 4 << 20
	memAddr  = 1 << 20 // guest-physical address of the first byte
	bufAddr  = memAddr + memSize/2
	features = feature.Mergeable | device.FeaturesOfQueues
)

// machine is a VM: the guest's memory, the queues of its driver, and the bus.
type machine struct {
	testing.TB
	file    *os.File
	mem     *virtqueue.Memory
	drivers []*virtqueuetest.Driver
	queues  []device.Queue
	failed  chan error
}

func (m *machine) ConfigChanged() { m.Error("the configuration changed") }
func (m *machine) Fail(err error) { m.failed <- err }

// newMachine returns a machine whose driver has n queues of size entries each.
func newMachine(t testing.TB, n, size int) *machine {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err == nil {
		err = unix.Ftruncate(fd, memSize)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{TB: t, file: os.NewFile(uintptr(fd), "guest"), failed: make(chan error, 4)}
	b, err := unix.Mmap(fd, 0, memSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Munmap(b), m.file.Close()); err != nil {
			t.Error(err)
		}
	})
	if m.mem, err = virtqueue.NewMemory([]virtqueue.Region{{Addr: memAddr, Mem: b}}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		kick, err := event.New()
		if err != nil {
			t.Fatal(err)
		}
		call, err := event.New()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(kick.Close)
		t.Cleanup(call.Close)
		d := virtqueuetest.New(m.mem, memAddr+uint64(i)*virtqueuetest.Size(size), size, true)
		m.drivers = append(m.drivers, d)
		m.queues = append(m.queues, device.Queue{Layout: d.Layout, Kick: kick, Call: call})
	}
	return m
}

// reset does what the driver and the transport do before they start a device again.
func (m *machine) reset() {
	for i, d := range m.drivers {
		m.drivers[i] = virtqueuetest.New(m.mem, d.Layout.Desc, d.Layout.Size, true)
		m.queues[i].Kick.Resume()
	}
}

func (m *machine) regions() []vhostuser.Region {
	return []vhostuser.Region{{Addr: memAddr, Size: memSize, File: m.file}}
}

// connect returns a card of the machine, its back end, and the back end's server.
func (m *machine) connect(card Config) (*Device, *backend.Link, *vhostuser.Server) {
	m.Helper()
	packets, err := backend.New(card.Pairs)
	if err != nil {
		m.Fatal(err)
	}
	server, err := vhostuser.Connect(packets)
	if err != nil {
		m.Fatal(err)
	}
	d, err := NewUser(server.File(), m.mem, m.regions(), card)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		d.Close()
		if err := server.Close(); err != nil {
			m.Error(err)
		}
	})
	return d, packets, server
}

func (m *machine) start(d device.Device, features uint64) {
	m.Helper()
	if err := d.Start(features, m.queues, m); err != nil {
		m.Fatal(err)
	}
}

func (m *machine) publish(i int) {
	if m.drivers[i].Publish() {
		m.queues[i].Kick.Signal()
	}
}

// take waits for the next used buffer of queue i and returns its length.
func (m *machine) take(i int) (written uint32) {
	m.Helper()
	late := time.AfterFunc(10*time.Second, m.queues[i].Call.Stop)
	defer late.Stop()
	for !m.drivers[i].Listen() {
		if !m.queues[i].Call.Wait() {
			m.Fatalf("queue %d: no buffer is used", i)
		}
	}
	_, written, _ = m.drivers[i].Take()
	return written
}

func (m *machine) bytes(off, n int) []byte {
	return m.drivers[0].Bytes(virtqueuetest.Buffer{Addr: bufAddr + uint64(off), Len: uint32(n)})
}

func buffer(off, n int) []virtqueuetest.Buffer {
	return []virtqueuetest.Buffer{{Addr: bufAddr + uint64(off), Len: uint32(n)}}
}

// transmit sends a packet from the guest through a pair of queues and returns it.
func (m *machine) transmit(pair, size int) []byte {
	m.Helper()
	p := m.bytes(0, size)
	for i := range p {
		p[i] = byte(size + i)
	}
	clear(p[:12]) // no offload
	m.drivers[2*pair+1].Add(buffer(0, size), nil)
	m.publish(2*pair + 1)
	return p
}

// exchange moves one packet in each direction.
func (m *machine) exchange(packets *backend.Link, pair, size int) {
	m.Helper()
	want := m.transmit(pair, size)
	pkts, sizes := []link.Packet{{make([]byte, 2000)}}, make([]int, 1)
	n, err := packets.ReadPackets(pkts, sizes)
	if err != nil || n != 1 || !bytes.Equal(pkts[0][0][:sizes[0]], want) {
		m.Fatalf("the back end read %d packets of %v bytes, want 1 of %d; error %v", n, sizes, size, err)
	}
	m.take(2*pair + 1)

	const room = 2000
	m.drivers[2*pair].Add(nil, buffer(4096, room))
	m.publish(2 * pair)
	if err := packets.WritePackets([]link.Packet{{want}}); err != nil {
		m.Fatal(err)
	}
	if n := int(m.take(2 * pair)); n != size || !bytes.Equal(m.bytes(4096+12, size-12), want[12:]) {
		m.Fatalf("the guest received %d bytes, want %d", n, size)
	}
}

func mac() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, 9} }

func TestDriverReadsTheConfiguration(t *testing.T) {
	m := newMachine(t, 0, 0)
	for _, c := range []struct {
		card   Config
		own    uint64
		queues []int
		config []byte
	}{
		{Config{Pairs: 1}, 0, []int{256, 256}, []byte{8: 1, 11: 0}},
		{Config{MAC: mac(), Pairs: 1, MTU: 1400}, feature.MAC | feature.MTU, []int{256, 256}, []byte{0: 2, 5: 9, 8: 1, 10: 0x78, 11: 5}},
		{Config{MAC: mac(), Pairs: 3}, feature.MAC | feature.Control | feature.Multi, []int{256, 256, 256, 256, 256, 256, 16}, []byte{0: 2, 5: 9, 8: 3, 11: 0}},
	} {
		d, _, _ := m.connect(c.card)
		if want := uint64(dataPathFeatures) | c.own; d.Features() != want {
			t.Errorf("%+v: features %#x, not %#x", c.card, d.Features(), want)
		}
		if d.ID() != 1 || !slices.Equal(d.Queues(), c.queues) || !bytes.Equal(d.Config(), c.config) {
			t.Errorf("%+v: device %d, queues %d, configuration % x", c.card, d.ID(), d.Queues(), d.Config())
		}
	}
}

func TestNewUserRefusesImpossibleConfigurations(t *testing.T) {
	m := newMachine(t, 0, 0)
	for _, card := range []Config{
		{}, {Pairs: -1}, {Pairs: maxPairs + 1}, {Pairs: 2}, // the back end has 1
		{Pairs: 1, MTU: 60}, {Pairs: 1, MTU: 1 << 16}, {Pairs: 1, MAC: mac()[:5]}, {Pairs: 1, MAC: net.HardwareAddr{1, 0, 0, 0, 0, 9}},
	} {
		packets, err := backend.New(1)
		if err != nil {
			t.Fatal(err)
		}
		server, err := vhostuser.Connect(packets)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := NewUser(server.File(), m.mem, m.regions(), card); err == nil {
			d.Close()
			t.Errorf("NewUser accepts %+v", card)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPacketsPassThroughTheBackEnd(t *testing.T) {
	before := openFiles(t)
	t.Run("card", func(t *testing.T) {
		m := newMachine(t, 2, 64)
		d, packets, _ := m.connect(Config{MAC: mac(), Pairs: 1})
		for _, f := range []uint64{features, device.FeatureVersion1 | device.FeatureEventIdx | feature.MAC, features} {
			m.start(d, f)
			for size := 60; size < 300; size++ {
				m.exchange(packets, 0, size)
			}
			d.Stop()

			// The next driver must not get this packet.
			m.transmit(0, 100)
			m.reset()
		}
		if len(m.failed) > 0 {
			t.Error(<-m.failed)
		}
	})
	if after := openFiles(t); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// command sends a command on queue i and returns its status.
func (m *machine) command(i int, b ...byte) byte {
	m.Helper()
	copy(m.bytes(0, len(b)), b)
	status := m.bytes(4096, 1)
	status[0] = 0xff
	m.drivers[i].Add(buffer(0, len(b)), buffer(4096, 1))
	m.publish(i)
	if n := m.take(i); n != 1 {
		m.Fatalf("a status of %d bytes", n)
	}
	return status[0]
}

func TestDriverChoosesPairs(t *testing.T) {
	const pairs, control = 3, 6
	m := newMachine(t, 2*pairs+1, 16)
	d, packets, _ := m.connect(Config{MAC: mac(), Pairs: pairs})
	m.queues[5].Size = 0 // the driver has set up one queue of pair 2 only
	m.start(d, features|feature.Control|feature.Multi)
	m.exchange(packets, 0, 100)
	for _, c := range []struct {
		name    string
		command []byte
		status  byte
	}{
		{"two pairs", []byte{4, 0, 2, 0}, 0},
		{"no pair", []byte{4, 0, 0, 0}, 1},
		{"a pair that is not set up", []byte{4, 0, 3, 0}, 1},
		{"513 pairs", []byte{4, 0, 2, 1}, 1},
		{"another command", []byte{4, 1, 2, 0}, 1},
		{"another class", []byte{0, 0, 1, 0}, 1},
		{"a short command", []byte{4, 0, 1}, 1},
		{"a long command", []byte{4, 0, 1, 0, 0}, 1},
	} {
		if got := m.command(control, c.command...); got != c.status {
			t.Errorf("%s: %d", c.name, got)
		}
	}
	m.exchange(packets, 1, 101)
	m.exchange(packets, 0, 102)

	// A packet that the guest transmits on a disabled pair is lost.
	if got := m.command(control, 4, 0, 1, 0); got != 0 {
		t.Errorf("one pair: %d", got)
	}
	m.transmit(1, 103)
	pkts, sizes := []link.Packet{{make([]byte, 2000)}}, make([]int, 1)
	if n, err := packets.ReadPackets(pkts, sizes); n != 1 || sizes[0] != 0 || err != nil {
		t.Errorf("%d packets of %d bytes, %v", n, sizes[0], err)
	}
	m.take(3)

	// After a restart only the first pair is enabled.
	d.Stop()
	m.reset()
	m.start(d, features|feature.Control|feature.Multi)
	m.exchange(packets, 0, 104)
	d.Stop()

	// Without VIRTIO_NET_F_MQ the control queue is queue 2.
	m.reset()
	m.queues[2].Size = 16
	m.start(d, features|feature.Control)
	m.exchange(packets, 0, 105)
	if got := m.command(2, 4, 0, 1, 0); got != 0 {
		t.Errorf("one pair of one: %d", got)
	}
	d.Stop()
	if len(m.failed) > 0 {
		t.Error(<-m.failed)
	}
}

func TestStartRefusesDriversThatLie(t *testing.T) {
	const all = features | feature.Control | feature.Multi
	for _, c := range []struct {
		name     string
		features uint64
		lie      func(m *machine)
		want     string
	}{
		{"a feature that was not offered", all | 1<<40, nil, "features"},
		{"several pairs without a control queue", features | feature.Multi, nil, "without a control queue"},
		{"no queues", all, func(m *machine) { m.queues[0].Size = 0 }, "first pair"},
		{"an odd size", all, func(m *machine) { m.queues[3].Size = 15 }, "queue 3"},
		{"descriptors outside of memory", all, func(m *machine) { m.queues[0].Desc = 1 << 40 }, "outside"},
		{"a ring over the end of memory", all, func(m *machine) { m.queues[2].Layout.Device = memAddr + memSize - 4 }, "outside"},
		{"a control queue outside of memory", all, func(m *machine) { m.queues[4].Driver = 0 }, "outside"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, 5, 16)
			d, packets, _ := m.connect(Config{Pairs: 2})
			honest := slices.Clone(m.queues)
			if c.lie != nil {
				c.lie(m)
			}
			if err := d.Start(c.features, m.queues, m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Start: %v", err)
			}
			m.queues = honest
			m.start(d, all)
			m.exchange(packets, 0, 100)
			d.Stop()
		})
	}
	t.Run("a command without an answer", func(t *testing.T) {
		m := newMachine(t, 5, 16)
		d, _, _ := m.connect(Config{Pairs: 2})
		m.start(d, all)
		m.drivers[4].Add(buffer(0, 4), nil)
		m.publish(4)
		if err := <-m.failed; !strings.Contains(err.Error(), "lies") {
			t.Error(err)
		}
		d.Stop()
	})
}

func TestDeviceFailsWhenTheBackEndHangsUp(t *testing.T) {
	m := newMachine(t, 2, 64)
	d, packets, server := m.connect(Config{Pairs: 1})
	if typ, err := unix.GetsockoptInt(d.Descriptor(), unix.SOL_SOCKET, unix.SO_TYPE); typ != unix.SOCK_STREAM || err != nil {
		t.Errorf("the connection is a socket of type %d, %v", typ, err)
	}
	m.start(d, features)
	m.exchange(packets, 0, 100)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-m.failed; !strings.Contains(err.Error(), "has hung up") {
		t.Error(err)
	}
	if _, err := packets.ReadPackets([]link.Packet{{nil}}, make([]int, 1)); err != io.EOF {
		t.Errorf("the link ends with %v", err)
	}
	d.Stop()
	m.reset()
	if err := d.Start(features, m.queues, m); err == nil {
		t.Error("the device starts without its back end")
	}
}

func TestStartFailsAfterTheBackEndHungUp(t *testing.T) {
	m := newMachine(t, 2, 64)
	d, _, server := m.connect(Config{Pairs: 1})
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(features, m.queues, m); err == nil {
		t.Error("the device starts without its back end")
	}
	if len(m.failed) > 0 {
		t.Errorf("a device that has not started reports a failure: %v", <-m.failed)
	}
}
