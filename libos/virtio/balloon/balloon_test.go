package balloon

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// machine is a memory for tests, with page frames from number 0x1000 on.
type machine struct {
	t  testing.TB
	mu sync.Mutex

	free  []platform.PageRun // not taken yet
	taken map[uint64]bool    // by frame number
	spare uint64
	used  bool // returned pages are used at once and freed again
}

func newMachine(t testing.TB, runs ...int) *machine {
	m := &machine{t: t, taken: map[uint64]bool{}, spare: 1 << 40}
	at := uint64(0x1000)
	for _, pages := range runs {
		m.free = append(m.free, platform.PageRun{Phys: at * platform.PageSize, Pages: pages})
		at += uint64(pages) + 1
	}
	return m
}

func (m *machine) TakeFree(runs []platform.PageRun) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := copy(runs, m.free)
	m.free = m.free[n:]
	for _, r := range runs[:n] {
		for i := range r.Pages {
			m.taken[r.Phys/platform.PageSize+uint64(i)] = true
		}
	}
	return n
}

func (m *machine) ReturnFree(runs []platform.PageRun) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range runs {
		for i := range r.Pages {
			n := r.Phys/platform.PageSize + uint64(i)
			if !m.taken[n] {
				m.t.Errorf("page %#x was returned but not taken", n)
			}
			delete(m.taken, n)
		}
		if m.used {
			m.free = append(m.free, r)
		}
	}
}

func (m *machine) Spare() uint64 { return m.spare }

func (m *machine) missing() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.taken)
}

// host is the device's side: the pages that it was given, and the sizes that
// the balloon has reported.
type host struct {
	dev   *virtiotest.Device
	sizes chan uint32

	mu    sync.Mutex
	pages map[uint32]bool
}

func newHost(t *testing.T, features uint64, optional ...int) *host {
	dev := virtiotest.New(virtio.IDBalloon, features, make([]byte, 16), append([]int{128, 128}, optional...)...)
	h := &host{dev: dev, sizes: make(chan uint32, 1000), pages: map[uint32]bool{}}
	dev.OnConfig(func() {
		var p [4]byte
		dev.Config(configActual, p[:])
		h.sizes <- binary.LittleEndian.Uint32(p[:])
	})
	record := func(have bool) func(c *virtiotest.Chain) int {
		return func(c *virtiotest.Chain) int {
			h.mu.Lock()
			defer h.mu.Unlock()
			for p := c.Bytes(); len(p) > 0; p = p[4:] {
				n := binary.LittleEndian.Uint32(p)
				if h.pages[n] == have {
					t.Errorf("page %#x was given twice or taken back twice", n)
				}
				h.pages[n] = have
			}
			return 0
		}
	}
	dev.Queue(inflateQueue).Serve(record(true))
	dev.Queue(deflateQueue).Serve(record(false))
	return h
}

// want asks for a size of pages, and waits until the balloon reports size.
func (h *host) want(pages, size uint32) {
	h.dev.Change(func(config []byte) { binary.LittleEndian.PutUint32(config, pages) })
	for <-h.sizes != size {
	}
}

func (h *host) has() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, have := range h.pages {
		if have {
			n++
		}
	}
	return n
}

func TestTheBalloonIsAsLargeAsTheHostWants(t *testing.T) {
	m := newMachine(t, 100, 16, 1024, 1024, 16, 500)
	m.used = true
	h := newHost(t, 0)
	b, errno := start(h.dev, m)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer b.shutdown()
	for _, size := range []uint32{50, 116, 1500, 1, 0, 700, 600} {
		h.want(size, size)
		if h.has() != int(size) {
			t.Errorf("the host has %d pages, want %d", h.has(), size)
		}
	}
}

func TestTheBalloonGivesNoMoreThanTheFreePages(t *testing.T) {
	m := newMachine(t, 100, 16)
	h := newHost(t, 0)
	b, errno := start(h.dev, m)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer b.shutdown()
	h.want(1<<30, 116)
	h.want(0, 0)
	if n := m.missing(); n != 0 {
		t.Errorf("%d pages did not come back", n)
	}
}

func TestTheBalloonLeavesTheProgramItsMemory(t *testing.T) {
	m := newMachine(t, 1000)
	m.spare = 10*platform.PageSize + 1
	h := newHost(t, 0)
	b, errno := start(h.dev, m)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer b.shutdown()
	h.want(1<<30, 10)
}

func TestFreePagesAreReportedOnTheRightQueue(t *testing.T) {
	for _, c := range []struct {
		name     string
		features uint64
		queue    int
	}{
		{"alone", 0, 2},
		{"after statistics", featureStats, 3},
		{"after hints", featureFreePageHint, 3},
		{"after both", featureStats | featureFreePageHint, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t, 100, 16, 1024)
			h := newHost(t, featureReporting|c.features, 64, 64, 64)
			b, errno := start(h.dev, m)
			if errno != 0 {
				t.Fatal(errno.Name())
			}
			defer b.shutdown()
			b.tick.Wake() // as the timer does after two seconds
			q := h.dev.Queue(c.queue)
			var sizes []int
			for len(sizes) < 3 {
				if d, ok := q.PopDescribed(); ok {
					shown := 0
					for _, b := range d.In {
						sizes = append(sizes, b.Len/platform.PageSize)
						shown += b.Len / platform.PageSize
					}
					if m.missing() != shown {
						t.Errorf("%d pages are taken, %d are reported", m.missing(), shown)
					}
					q.Lie(d.ID, 0)
				}
			}
			if !slices.Equal(sizes, []int{100, 16, 1024}) {
				t.Errorf("reported runs of %v pages", sizes)
			}
		})
	}
}

func TestAReportCoversAFractionOfTheMemory(t *testing.T) {
	for memory, want := range map[uint64]int{8 << 20: 1, 64 << 20: 2, 256 << 20: 8, 1 << 30: 16, 1 << 40: 16} {
		if n := reportAtOnce(memory); n != want {
			t.Errorf("a report has %d runs with %d MiB of memory, want %d", n, memory>>20, want)
		}
	}
}

func TestReportedPagesAreReturned(t *testing.T) {
	m := newMachine(t, 100, 16)
	h := newHost(t, featureReporting, 64)
	q := h.dev.Queue(2)
	q.OnNotify(func() {
		for d, ok := q.PopDescribed(); ok; d, ok = q.PopDescribed() {
			q.Lie(d.ID, 0)
		}
	})
	b, errno := start(h.dev, m)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer b.shutdown()
	if found, ok := b.reportFree(); !found || !ok || m.missing() != 0 {
		t.Errorf("reportFree returned %v, %v; %d pages did not come back", found, ok, m.missing())
	}
	if found, ok := b.reportFree(); found || !ok {
		t.Errorf("reportFree returned %v, %v without new free pages", found, ok)
	}
}

// FuzzLyingDevice simulates a host that wants impossible sizes and uses buffers
// that it was not given. Each page must be given and returned at most once.
func FuzzLyingDevice(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0, 4, 0, 0, 0, 2})
	f.Add([]byte{5, 0xff, 0xff, 0xff, 0xff, 1, 1, 9, 9, 2, 3, 200})
	f.Fuzz(func(t *testing.T, script []byte) {
		defer platform.HostedForgetDMA()
		m := newMachine(t, 100, 16, 1024)
		dev := virtiotest.New(virtio.IDBalloon, featureReporting, make([]byte, 16), 8, 8, 8)
		next := func() (b byte) {
			if len(script) > 0 {
				b, script = script[0], script[1:]
			}
			return b
		}
		var mu sync.Mutex
		for i := range 3 {
			q := dev.Queue(i)
			q.OnNotify(func() {
				mu.Lock()
				defer mu.Unlock()
				for d, ok := q.PopDescribed(); ok; d, ok = q.PopDescribed() {
					switch next() % 8 {
					case 0:
						q.Lie(d.ID+1, 0)
					case 1:
						q.Lie(d.ID, 1<<31)
					case 2:
						q.LieIndex(uint16(next()))
					default:
						q.Lie(d.ID, 0)
					}
				}
			})
		}
		b, errno := start(dev, m)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		for n := 0; n < 8; n++ {
			mu.Lock()
			size := uint32(next()) | uint32(next())<<8 | uint32(next())<<16 | uint32(next())<<24
			mu.Unlock()
			dev.Change(func(config []byte) { binary.LittleEndian.PutUint32(config, size) })
			if n == 4 {
				b.tick.Wake()
			}
		}
		b.shutdown()
	})
}
