package block

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// file makes a file of size bytes in a directory of the test.
func file(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// backend opens path until t ends.
func backend(t testing.TB, path string, readOnly bool) *Backend {
	t.Helper()
	b, err := Open(path, readOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// buffered opens path without O_DIRECT.
func buffered(t testing.TB, path string, readOnly bool) *Backend {
	t.Helper()
	b := &Backend{Info: Info{ReadOnly: readOnly, ID: "disk.img"}}
	if err := b.open(path, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Layout of guest memory.
const (
	base    = 1 << 20
	ringAt  = base
	headAt  = base + 64<<10  // headers, one per descriptor
	dataAt  = base + 128<<10 // data, slot bytes each
	slot    = 64 << 10
	memSize = 16 << 20
)

// fixture is a disk with one queue and a driver that the test controls.
type fixture struct {
	t   testing.TB
	dev *Device
	mem *virtqueue.Memory
	q   *virtqueuetest.Driver

	queue device.Queue
	mu    sync.Mutex
	err   error // joined errors of Fail
}

func (m *fixture) ConfigChanged() {}
func (m *fixture) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = errors.Join(m.err, err)
}

func (m *fixture) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func memory(t testing.TB) *virtqueue.Memory {
	t.Helper()
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: base, Mem: devicetest.Pages(t, memSize)}})
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

const allFeatures = device.FeatureVersion1 | device.FeatureEventIdx | featureFlush

func newFixture(t testing.TB, b *Backend, o Options, features uint64) *fixture {
	t.Helper()
	mem := memory(t)
	d, err := New(mem, b.File, b.Info, o)
	if err != nil {
		t.Fatal(err)
	}
	return attach(t, d, mem, features)
}

// attach starts d with its first queue only.
func attach(t testing.TB, d *Device, mem *virtqueue.Memory, features uint64) *fixture {
	t.Helper()
	m := &fixture{t: t, mem: mem, dev: d}
	m.q = virtqueuetest.New(m.mem, ringAt, queueSize, features&device.FeatureEventIdx != 0)
	m.queue = device.Queue{Layout: m.q.Layout, Kick: devicetest.Event(t), Call: devicetest.Event(t)}
	queues := make([]device.Queue, len(d.Queues()))
	queues[0] = m.queue
	if err := d.Start(features, queues, m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	return m
}

// stop stops the device. Further calls do nothing.
func (m *fixture) stop() {
	if m.dev != nil {
		m.dev.Stop()
		m.dev = nil
	}
}

func (m *fixture) bytes(addr uint64, n int) []byte {
	b, ok := m.mem.Slice(addr, uint64(n))
	if !ok {
		m.t.Fatalf("no guest memory at %#x", addr)
	}
	return b
}

// header writes a request header to slot i. The status byte follows it.
func (m *fixture) header(i int, typ uint32, at uint64) (header, status virtqueuetest.Buffer) {
	addr := uint64(headAt + 32*i)
	h := m.bytes(addr, 32)
	binary.LittleEndian.PutUint32(h, typ)
	binary.LittleEndian.PutUint64(h[8:], at)
	h[headerSize] = 0xff
	return virtqueuetest.Buffer{Addr: addr, Len: headerSize}, virtqueuetest.Buffer{Addr: addr + headerSize, Len: 1}
}

// post makes a request available. Its header is in slot i.
func (m *fixture) post(i int, typ uint32, at uint64, data ...virtqueuetest.Buffer) {
	h, s := m.header(i, typ, at)
	out, in := []virtqueuetest.Buffer{h}, []virtqueuetest.Buffer{}
	if typ == typeIn || typ == typeGetID {
		in = append(in, data...)
	} else {
		out = append(out, data...)
	}
	if _, ok := m.q.Add(out, append(in, s)); !ok {
		m.t.Fatal("the queue is full")
	}
}

func (m *fixture) kick() {
	if m.q.Publish() {
		m.queue.Kick.Signal()
	}
}

// take waits for the next used chain. It returns the number of bytes that the
// device wrote.
func (m *fixture) take() (written uint32) {
	for {
		if _, n, ok := m.q.Take(); ok {
			return n
		}
		if !m.q.Listen() && !m.queue.Call.Wait() {
			m.t.Fatal("no interrupt")
		}
	}
}

// do makes one request and returns its status.
func (m *fixture) do(typ uint32, at uint64, data ...virtqueuetest.Buffer) byte {
	m.t.Helper()
	m.post(0, typ, at, data...)
	m.kick()
	m.take()
	return m.bytes(headAt+headerSize, 1)[0]
}

// rangeOf makes one discard or write zeroes request.
func (m *fixture) rangeOf(typ uint32, at uint64, sectors, flags uint32) byte {
	m.t.Helper()
	p := m.bytes(dataAt+100*slot, rangeSize)
	binary.LittleEndian.PutUint64(p, at)
	binary.LittleEndian.PutUint32(p[8:], sectors)
	binary.LittleEndian.PutUint32(p[12:], flags)
	return m.do(typ, 0, data(100, rangeSize))
}

// repeater returns a function that repeats the last used request and waits for
// it. The function does not allocate.
func (m *fixture) repeater() func() {
	head := binary.LittleEndian.Uint32(m.q.Used[4+8*((int(binary.LittleEndian.Uint16(m.q.Used[2:]))-1)%queueSize):])
	flags := (*uint32)(unsafe.Pointer(&m.q.Avail[0]))
	used := (*uint32)(unsafe.Pointer(&m.q.Used[0]))
	return func() {
		next := uint16(atomic.LoadUint32(flags) >> 16)
		binary.LittleEndian.PutUint16(m.q.Avail[4+2*(int(next)%queueSize):], uint16(head))
		binary.LittleEndian.PutUint16(m.q.Avail[4+2*queueSize:], next) // used_event
		atomic.StoreUint32(flags, uint32(next+1)<<16)
		m.queue.Kick.Signal()
		for uint16(atomic.LoadUint32(used)>>16) != next+1 {
			m.queue.Call.Wait()
		}
	}
}

func data(i, n int) virtqueuetest.Buffer {
	return virtqueuetest.Buffer{Addr: uint64(dataAt + i*slot), Len: uint32(n)}
}

func BenchmarkRead(b *testing.B) {
	const size = 64 << 20
	for _, kind := range []struct {
		name string
		open func(t testing.TB, path string, readOnly bool) *Backend
	}{{"cached", buffered}, {"direct", backend}} {
		for _, c := range []struct {
			name     string
			inFlight int
			n        int
		}{{"4K", 1, 4 << 10}, {"4Kx4", 4, 4 << 10}, {"4Kx16", 16, 4 << 10}, {"64K", 1, slot}, {"64Kx4", 4, slot}} {
			b.Run(kind.name+"/"+c.name, func(b *testing.B) {
				path := file(b, size)
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyN(f, zeroes{}, size); err != nil {
					b.Fatal(err)
				}
				if err := errors.Join(f.Sync(), f.Close()); err != nil {
					b.Fatal(err)
				}
				m := newFixture(b, kind.open(b, path, true), Options{}, allFeatures)
				b.SetBytes(int64(c.n))
				b.ReportAllocs()
				at := uint64(0)
				post := func(i int) {
					at = (at + 7919*uint64(c.n)) % size / uint64(c.n) * uint64(c.n)
					m.post(i%100, typeIn, at/sector, data(i%64, c.n))
				}
				for b.Loop() {
					for i := range c.inFlight {
						post(i)
					}
					m.kick()
					for range c.inFlight {
						m.take()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.inFlight), "ns/request")
			})
		}
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// blocks returns the disk space of a file in sectors.
func blocks(f os.FileInfo) int64 { return f.Sys().(*syscall.Stat_t).Blocks }
