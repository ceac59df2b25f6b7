package virtqueue_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	. "github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

type buffer = virtqueuetest.Buffer

func at(addr uint64, n uint32) buffer { return buffer{Addr: addr, Len: n} }

const (
	base     = 0x10_0000 // the queue
	low      = 0x20_0000 // the first of two adjoining regions for buffers
	high     = low + 0x1_0000
	tables   = 0x40_0000 // indirect tables
	pageSize = 4096
)

func memory(t testing.TB, queue int) *Memory {
	t.Helper()
	m, err := NewMemory([]Region{
		{high, make([]byte, 0x1_0000)},
		{base, make([]byte, virtqueuetest.Size(queue))},
		{low, make([]byte, 0x1_0000)},
		{tables, make([]byte, virtqueuetest.IndirectSize(queue))},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func setup(t testing.TB, size int, opts Options) (*virtqueuetest.Driver, *Queue) {
	t.Helper()
	m := memory(t, size)
	d := virtqueuetest.New(m, base, size, opts.EventIndex)
	if opts.Indirect {
		d.Indirect = tables
	}
	q, err := New(m, d.Layout, opts, 0)
	if err != nil {
		t.Fatal(err)
	}
	return d, q
}

func forOptions(t *testing.T, f func(t *testing.T, opts Options)) {
	for _, event := range []bool{false, true} {
		for _, indirect := range []bool{false, true} {
			t.Run(fmt.Sprintf("event=%t,indirect=%t", event, indirect), func(t *testing.T) {
				f(t, Options{EventIndex: event, Indirect: indirect})
			})
		}
	}
}

func TestChainsArriveWholeAndInOrder(t *testing.T) {
	forOptions(t, func(t *testing.T, opts Options) {
		d, q := setup(t, 8, opts)
		var c Chain
		// The 16-bit indexes wrap.
		for i := range 70000 {
			out := []buffer{at(low+uint64(i%1000), 10), at(high-4, 8)}
			in := []buffer{at(high+100, 1), at(high+200, 2)}
			head, ok := d.Add(out, in)
			if !ok {
				t.Fatal("the queue is full")
			}
			d.Publish()
			if ok, err := q.Pop(&c); !ok || err != nil {
				t.Fatalf("chain %d: Pop = %t, %v", i, ok, err)
			}
			if c.OutLen != 18 || c.InLen != 3 || len(c.Out) != 3 || len(c.In) != 2 {
				t.Fatalf("chain %d: %d pieces of %d bytes out, %d of %d in", i, len(c.Out), c.OutLen, len(c.In), c.InLen)
			}
			if &c.Out[0][0] != &d.Bytes(out[0])[0] || &c.Out[2][0] != &d.Bytes(at(high, 4))[0] || &c.In[1][0] != &d.Bytes(in[1])[0] {
				t.Fatalf("chain %d: its buffers are in other memory", i)
			}
			if ok, err := q.Pop(&c); ok || err != nil {
				t.Fatalf("chain %d: Pop takes one chain too many: %t, %v", i, ok, err)
			}
			q.Push(&c, 3)
			if _, _, ok := d.Take(); ok {
				t.Fatal("the driver sees a used chain before Flush")
			}
			q.Flush()
			if h, n, ok := d.Take(); !ok || h != head || n != 3 {
				t.Fatalf("chain %d: used %d, %d, %t; want %d, 3", i, h, n, ok, head)
			}
		}
	})
}

func TestUnpopReturnsChainsInOrder(t *testing.T) {
	d, q := setup(t, 4, Options{})
	for i := range 3 {
		d.Add([]buffer{at(low, uint32(i+1))}, nil)
	}
	d.Publish()
	var c Chain
	for _, step := range []struct{ length, unpop int }{{1, 0}, {2, 0}, {3, 2}, {2, 1}, {2, 0}, {3, 0}} {
		if ok, err := q.Pop(&c); !ok || err != nil || c.OutLen != step.length {
			t.Fatalf("Pop: %d bytes, %t, %v; want %d bytes", c.OutLen, ok, err, step.length)
		}
		q.Unpop(step.unpop)
	}
}

func TestDriverIsInterruptedWhenItAsked(t *testing.T) {
	for _, test := range []struct {
		name   string
		opts   Options
		listen []int // after which batches the driver listens
		batch  []int // chains used at once
		want   []bool
	}{
		{"flags", Options{}, nil, []int{1, 2, 0, 1}, []bool{true, true, false, true}},
		{"event, listens always", Options{EventIndex: true}, []int{0, 1, 2}, []int{1, 3, 1}, []bool{true, true, true}},
		{"event, never listens again", Options{EventIndex: true}, nil, []int{1, 1, 2}, []bool{true, false, false}},
		{"event, listens once more", Options{EventIndex: true}, []int{1}, []int{2, 1, 1, 1}, []bool{true, false, true, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, q := setup(t, 8, test.opts)
			var c Chain
			for i, n := range test.batch {
				for range n {
					d.Add([]buffer{at(low, 1)}, nil)
					d.Publish()
					if ok, err := q.Pop(&c); !ok || err != nil {
						t.Fatal(ok, err)
					}
					q.Push(&c, 0)
				}
				if got := q.Flush(); got != test.want[i] {
					t.Errorf("batch %d: Flush reports %t", i, got)
				}
				for range n {
					d.Take()
				}
				for _, l := range test.listen {
					if l == i {
						d.Listen()
					}
				}
			}
		})
	}
	t.Run("flags, unwanted", func(t *testing.T) {
		d, q := setup(t, 8, Options{})
		binary.LittleEndian.PutUint16(d.Avail, 1)
		d.Add([]buffer{at(low, 1)}, nil)
		d.Publish()
		var c Chain
		if ok, err := q.Pop(&c); !ok || err != nil {
			t.Fatal(ok, err)
		}
		q.Push(&c, 0)
		if q.Flush() {
			t.Error("Flush reports an interrupt that the driver does not want")
		}
	})
}

func TestDeviceIsNotifiedWhenItAsked(t *testing.T) {
	forOptions(t, func(t *testing.T, opts Options) {
		d, q := setup(t, 8, opts)
		var c Chain
		add := func() bool {
			t.Helper()
			if _, ok := d.Add([]buffer{at(low, 1)}, nil); !ok {
				t.Fatal("full")
			}
			return d.Publish()
		}
		drain := func() {
			t.Helper()
			for {
				ok, err := q.Pop(&c)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				q.Push(&c, 0)
			}
			q.Flush()
			for {
				if _, _, ok := d.Take(); !ok {
					return
				}
			}
		}
		if !add() {
			t.Error("a new queue's first chain: no notification")
		}
		q.DisableNotify()
		if add() {
			t.Error("disabled: notification")
		}
		if !q.EnableNotify() {
			t.Error("EnableNotify does not report the chains that are available")
		}
		q.DisableNotify()
		drain()
		if add() {
			t.Error("disabled and drained: notification")
		}
		drain()
		if q.EnableNotify() {
			t.Error("EnableNotify reports a chain, and none is available")
		}
		if !add() {
			t.Error("enabled: no notification")
		}
	})
}

func TestLieBreaksTheQueue(t *testing.T) {
	type lie struct {
		name string
		opts Options
		tell func(d *virtqueuetest.Driver)
		want string
	}
	desc := func(i int, addr uint64, n uint32, flags, next uint16) func(d *virtqueuetest.Driver) {
		return func(d *virtqueuetest.Driver) {
			d.Add([]buffer{at(low, 1)}, nil)
			virtqueuetest.SetDesc(d.Desc, i, addr, n, flags, next)
			d.Publish()
		}
	}
	table := func(entries ...[4]uint64) func(d *virtqueuetest.Driver) {
		return func(d *virtqueuetest.Driver) {
			d.Add([]buffer{at(low, 1)}, nil)
			virtqueuetest.SetDesc(d.Desc, 0, tables, uint32(16*len(entries)), 4, 0)
			b := d.Bytes(at(tables, uint32(16*len(entries))))
			for i, e := range entries {
				virtqueuetest.SetDesc(b, i, e[0], uint32(e[1]), uint16(e[2]), uint16(e[3]))
			}
			d.Publish()
		}
	}
	ind := Options{Indirect: true}
	lies := []lie{
		{"index runs ahead", Options{}, func(d *virtqueuetest.Driver) {
			binary.LittleEndian.PutUint16(d.Avail[2:], 5)
		}, "available index 5"},
		{"index runs back", Options{}, func(d *virtqueuetest.Driver) {
			binary.LittleEndian.PutUint16(d.Avail[2:], 0xffff)
		}, "available index 65535"},
		{"head beyond the table", Options{}, func(d *virtqueuetest.Driver) {
			binary.LittleEndian.PutUint16(d.Avail[4:], 4)
			binary.LittleEndian.PutUint16(d.Avail[2:], 1)
		}, "index is beyond"},
		{"next beyond the table", Options{}, desc(0, low, 1, 1, 4), "index is beyond"},
		{"loop", Options{}, desc(0, low, 1, 1, 0), "longer than their table"},
		{"empty", Options{}, desc(0, low, 0, 0, 0), "empty"},
		{"before memory", Options{}, desc(0, base-1, 1, 0, 0), "outside"},
		{"behind memory", Options{}, desc(0, high+0xffff, 2, 0, 0), "outside"},
		{"across a hole", Options{}, desc(0, base, tables-base, 0, 0), "outside"},
		{"around the end", Options{}, desc(0, ^uint64(0), 0xffffffff, 0, 0), "outside"},
		{"to read behind one to write", Options{}, func(d *virtqueuetest.Driver) {
			d.Add([]buffer{at(low, 1)}, []buffer{at(low, 1)})
			virtqueuetest.SetDesc(d.Desc, 0, low, 1, 2|1, 1)
			virtqueuetest.SetDesc(d.Desc, 1, low, 1, 0, 0)
			d.Publish()
		}, "behind one to write"},
		{"indirect without the feature", Options{}, desc(0, tables, 16, 4, 0), "indirect"},
		{"indirect and next", ind, desc(0, tables, 16, 4|1, 1), "indirect"},
		{"indirect, half an entry", ind, desc(0, tables, 24, 4, 0), "indirect"},
		{"indirect, no entry", ind, desc(0, tables, 0, 4, 0), "empty"},
		{"indirect, too long", ind, desc(0, tables, 1025*16, 4, 0), "indirect"},
		{"indirect outside", ind, desc(0, high+0xfff8, 16, 4, 0), "outside"},
		{"indirect nested", ind, table([4]uint64{tables, 16, 4, 0}), "indirect"},
		{"indirect loop", ind, table([4]uint64{low, 1, 1, 1}, [4]uint64{low, 1, 1, 0}), "longer than their table"},
		{"indirect, next beyond", ind, table([4]uint64{low, 1, 1, 1}), "index is beyond"},
	}
	for _, l := range lies {
		t.Run(l.name, func(t *testing.T) {
			d, q := setup(t, 4, l.opts)
			l.tell(d)
			var c Chain
			_, err := q.Pop(&c)
			if err == nil || !strings.Contains(err.Error(), l.want) {
				t.Fatalf("Pop: %v; want %q", err, l.want)
			}
			clear(d.Avail)
			if ok, again := q.Pop(&c); ok || again != err {
				t.Errorf("Pop of the broken queue: %t, %v", ok, again)
			}
		})
	}
}

func TestChainIsShorterThan4GiB(t *testing.T) {
	const size = 1 << 32
	huge, err := unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Skip("no address space:", err)
	}
	defer func() {
		if err := unix.Munmap(huge); err != nil {
			t.Error(err)
		}
	}()
	m, err := NewMemory([]Region{{0, make([]byte, pageSize)}, {size, huge}})
	if err != nil {
		t.Fatal(err)
	}
	for second, want := range map[uint32]bool{0x7fff_ffff: true, 0x8000_0000: false} {
		d := virtqueuetest.New(m, 0, 4, false)
		q, err := New(m, d.Layout, Options{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		d.Add([]buffer{at(size, 0x8000_0000), at(size, second)}, nil)
		d.Publish()
		if ok, err := q.Pop(new(Chain)); ok != want {
			t.Errorf("%#x bytes: %t, %v", 0x8000_0000+uint64(second), ok, err)
		}
	}
}

func TestNewChecksThePlaceOfTheQueue(t *testing.T) {
	m := memory(t, 8)
	good := virtqueuetest.New(m, base, 8, false).Layout
	for _, test := range []struct {
		name   string
		change func(l *Layout)
		next   uint16
		ok     bool
	}{
		{"correct", func(*Layout) {}, 0, true},
		{"an even driver area", func(l *Layout) { l.Driver = low + 2 }, 0, true},
		{"no entries", func(l *Layout) { l.Size = 0 }, 0, false},
		{"no power of two", func(l *Layout) { l.Size = 6 }, 0, false},
		{"too many", func(l *Layout) { l.Size = 65536 }, 0, false},
		{"descriptors elsewhere", func(l *Layout) { l.Desc = 0 }, 0, false},
		{"descriptors unaligned", func(l *Layout) { l.Desc = low + 8 }, 0, false},
		{"driver area elsewhere", func(l *Layout) { l.Driver = ^uint64(0) - 1 }, 0, false},
		{"driver area unaligned", func(l *Layout) { l.Driver = low + 1 }, 0, false},
		{"device area cut off", func(l *Layout) { l.Device = high + 0x1_0000 - 64 }, 0, false},
		{"device area unaligned", func(l *Layout) { l.Device = low + 2 }, 0, false},
		{"continues with unused chains", func(*Layout) {}, 8, true},
		{"continues with more chains than entries", func(*Layout) {}, 9, false},
		{"continues before the used index", func(*Layout) {}, 0xffff, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := good
			test.change(&l)
			if _, err := New(m, l, Options{}, test.next); (err == nil) != test.ok {
				t.Errorf("New: %v", err)
			}
		})
	}
}

func TestNewMemoryChecksRegions(t *testing.T) {
	page := make([]byte, 2*pageSize)
	for _, test := range []struct {
		name    string
		regions []Region
		ok      bool
	}{
		{"none", nil, true},
		{"adjoining", []Region{{pageSize, page[:pageSize]}, {0, page[pageSize:]}}, true},
		{"empty", []Region{{0, nil}}, false},
		{"overlapping", []Region{{0, page}, {pageSize, page[:8]}}, false},
		{"the same twice", []Region{{0, page}, {0, page}}, false},
		{"address unaligned", []Region{{4, page}}, false},
		{"length unaligned", []Region{{0, page[:12]}}, false},
		{"mapping unaligned", []Region{{0, page[4:12]}}, false},
		{"up to the last address", []Region{{^uint64(0) - pageSize + 1, page[:pageSize]}}, false},
		{"beyond the last address", []Region{{^uint64(0) - 7, page}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := NewMemory(test.regions); (err == nil) != test.ok {
				t.Errorf("NewMemory: %v", err)
			}
		})
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	d, q := setup(t, 8, Options{EventIndex: true})
	d.Add([]buffer{at(low, 10), at(high-5, 10)}, []buffer{at(low, 10)})
	d.Publish()
	var c Chain
	if n := testing.AllocsPerRun(100, func() {
		if ok, err := q.Pop(&c); !ok || err != nil {
			t.Fatal(ok, err)
		}
		q.Unpop(1)
		q.EnableNotify()
		q.Flush()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLyingDriver lets the fuzzer write the queue's memory between operations. The
// queue must never return memory outside of the guest's.
func FuzzLyingDriver(f *testing.F) {
	f.Add(uint8(2), uint8(3), []byte{0, 1, 2, 3})
	f.Add(uint8(3), uint8(2), bytes.Repeat([]byte{1, 0, 0, 16, 0, 1, 4}, 30))
	f.Fuzz(func(t *testing.T, shift, opts uint8, script []byte) {
		size := 1 << (shift % 5)
		ring := make([]byte, virtqueuetest.Size(size))
		data := make([]byte, 256)
		m, err := NewMemory([]Region{{0, ring}, {uint64(len(ring)), data}})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{EventIndex: opts&1 != 0, Indirect: opts&2 != 0}
		d := virtqueuetest.New(m, 0, size, o.EventIndex)
		q, err := New(m, d.Layout, o, 0)
		if err != nil {
			t.Fatal(err)
		}
		var c Chain
		held, broken := 0, false
		inside := func(p []byte) bool {
			for _, r := range [][]byte{ring, data} {
				for i := range r {
					if &r[i] == &p[0] {
						return i+len(p) <= len(r)
					}
				}
			}
			return false
		}
		for len(script) >= 4 {
			op, where, v := script[0], int(script[1]), script[2:4]
			script = script[4:]
			switch op % 8 {
			case 0: // any two bytes of the descriptors and rings
				part := [][]byte{d.Desc, d.Avail, d.Used}[int(op/8)%3]
				copy(part[2*where%len(part):], v)
			case 1: // one more is available
				binary.LittleEndian.PutUint16(d.Avail[2:], binary.LittleEndian.Uint16(d.Avail[2:])+1)
			case 2: // a descriptor that may be right
				flags := uint16(op/8) & 7
				virtqueuetest.SetDesc(d.Desc, where%size, uint64(v[0])*uint64(len(ring))/250, uint32(v[1]), flags, uint16(where)%uint16(size))
			case 3:
				if held < size {
					ok, err := q.Pop(&c)
					if broken && (ok || err == nil) {
						t.Fatal("a broken queue continues")
					}
					broken = err != nil
					if ok {
						held++
						n := 0
						for _, p := range c.Out {
							if !inside(p) {
								t.Fatal("a buffer to read lies outside of memory")
							}
							n += len(p)
						}
						if n != c.OutLen {
							t.Fatalf("%d bytes to read, and OutLen is %d", n, c.OutLen)
						}
						n = 0
						for _, p := range c.In {
							if !inside(p) {
								t.Fatal("a buffer to write lies outside of memory")
							}
							n += len(p)
						}
						if n != c.InLen {
							t.Fatalf("%d bytes to write, and InLen is %d", n, c.InLen)
						}
					}
				}
			case 4:
				if held > 0 {
					held--
					q.Push(&c, c.InLen)
				}
			case 5:
				if held > 0 {
					held--
					q.Unpop(1)
				}
			case 6:
				q.Flush()
			case 7:
				q.DisableNotify()
				q.EnableNotify()
			}
		}
	})
}
