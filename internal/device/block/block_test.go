package block

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// kinds are the ways to open a file.
var kinds = map[string]func(t testing.TB, path string, readOnly bool) *Backend{"cached": buffered, "direct": direct}

// direct opens path with O_DIRECT. It skips the test if the file system does
// not support that.
func direct(t testing.TB, path string, readOnly bool) *Backend {
	b := backend(t, path, readOnly)
	if !b.Info.Direct {
		t.Skip("the file system of the temporary directory does not support O_DIRECT")
	}
	return b
}

func fill(p []byte, seed int) []byte {
	for i := range p {
		p[i] = byte(i*7 + i>>9 + seed)
	}
	return p
}

func TestRequests(t *testing.T) {
	const size = 1 << 20
	const last = size/sector - 8
	rng := func(at uint64, sectors, flags uint32) []byte {
		b := binary.LittleEndian.AppendUint64(nil, at)
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, sectors), flags)
	}
	type pieces = []virtqueuetest.Buffer
	for _, test := range []struct {
		name     string
		typ      uint32
		at       uint64
		data     pieces
		payload  []byte // the first bytes of data
		readOnly bool
		want     byte
		written  uint32 // used length that the device reports; 1 if it writes only the status
	}{
		{name: "read", typ: typeIn, data: pieces{data(0, 4096)}, want: statusOK, written: 4097},
		{name: "read in pieces", typ: typeIn, data: pieces{data(0, 4096), data(2, 8192)}, want: statusOK, written: 12289},
		{name: "read at the end", typ: typeIn, at: last, data: pieces{data(0, 4096)}, want: statusOK, written: 4097},
		{name: "read across the end", typ: typeIn, at: last + 1, data: pieces{data(0, 4096)}, want: statusError},
		{name: "read beyond the end", typ: typeIn, at: last + 8, data: pieces{data(0, 512)}, want: statusError},
		{name: "read of a sector whose offset overflows", typ: typeIn, at: 1<<55 + 1, data: pieces{data(0, 512)}, want: statusError},
		{name: "read of the highest sector number", typ: typeIn, at: 1<<64 - 1, data: pieces{data(0, 512)}, want: statusError},
		{name: "read of nothing", typ: typeIn, want: statusError},
		{name: "read of an incomplete sector", typ: typeIn, data: pieces{data(0, 100)}, want: statusError},
		{name: "write", typ: typeOut, data: pieces{data(0, 4096)}, want: statusOK},
		{name: "write in pieces", typ: typeOut, at: 8, data: pieces{data(0, 4096), data(2, 8192)}, want: statusOK},
		{name: "write across the end", typ: typeOut, at: last, data: pieces{data(0, 8192)}, want: statusError},
		{name: "write of nothing", typ: typeOut, want: statusError},
		{name: "write of an incomplete sector", typ: typeOut, data: pieces{data(0, 513)}, want: statusError},
		{name: "write, read-only", typ: typeOut, data: pieces{data(0, 4096)}, readOnly: true, want: statusError},
		{name: "flush", typ: typeFlush, want: statusOK},
		{name: "flush, read-only", typ: typeFlush, readOnly: true, want: statusOK},
		{name: "device ID", typ: typeGetID, data: pieces{data(0, 20)}, want: statusOK, written: 21},
		{name: "device ID, larger buffer", typ: typeGetID, data: pieces{data(0, 30)}, want: statusOK},
		{name: "device ID, smaller buffer", typ: typeGetID, data: pieces{data(0, 19)}, want: statusError},
		{name: "discard", typ: typeDiscard, data: pieces{data(0, 16)}, payload: rng(8, 8, 0), want: statusOK},
		{name: "discard across the end", typ: typeDiscard, data: pieces{data(0, 16)}, payload: rng(last, 9, 0), want: statusError},
		{name: "discard of nothing", typ: typeDiscard, data: pieces{data(0, 16)}, payload: rng(8, 0, 0), want: statusError},
		{name: "discard of too much", typ: typeDiscard, data: pieces{data(0, 16)}, payload: rng(0, 1<<32-1, 0), want: statusError},
		{name: "discard of two ranges", typ: typeDiscard, data: pieces{data(0, 32)}, payload: append(rng(8, 8, 0), rng(32, 8, 0)...), want: statusError},
		{name: "discard of an incomplete range", typ: typeDiscard, data: pieces{data(0, 8)}, want: statusError},
		{name: "discard with a flag", typ: typeDiscard, data: pieces{data(0, 16)}, payload: rng(8, 8, flagUnmap), want: statusUnsupported},
		{name: "discard, read-only", typ: typeDiscard, data: pieces{data(0, 16)}, payload: rng(8, 8, 0), readOnly: true, want: statusUnsupported},
		{name: "zeroes", typ: typeWriteZeroes, data: pieces{data(0, 16)}, payload: rng(8, 8, 0), want: statusOK},
		{name: "zeroes with unmap", typ: typeWriteZeroes, data: pieces{data(0, 16)}, payload: rng(8, 8, flagUnmap), want: statusOK},
		{name: "zeroes with an unknown flag", typ: typeWriteZeroes, data: pieces{data(0, 16)}, payload: rng(8, 8, 2), want: statusUnsupported},
		{name: "zeroes, read-only", typ: typeWriteZeroes, data: pieces{data(0, 16)}, payload: rng(8, 8, 0), readOnly: true, want: statusUnsupported},
		{name: "an unknown type", typ: 99, want: statusUnsupported},
	} {
		for kind, open := range kinds {
			t.Run(test.name+", "+kind, func(t *testing.T) {
				path := file(t, size)
				before := fill(make([]byte, size), 1)
				if err := os.WriteFile(path, before, 0o600); err != nil {
					t.Fatal(err)
				}
				b := open(t, path, test.readOnly)
				m := newFixture(t, b, Options{}, allFeatures)
				// The expected contents of the file and of guest memory.
				file, off := bytes.Clone(before), int(test.at)*sector
				for _, p := range test.data {
					mem := fill(m.bytes(p.Addr, int(p.Len)), int(p.Addr>>12))
					copy(mem, test.payload)
					if test.want == statusOK && test.typ == typeOut {
						off += copy(file[off:], mem)
					}
				}
				if test.want == statusOK && test.payload != nil {
					at := binary.LittleEndian.Uint64(test.payload) * sector
					clear(file[at : at+uint64(binary.LittleEndian.Uint32(test.payload[8:]))*sector])
				}
				m.post(0, test.typ, test.at, test.data...)
				m.kick()
				written, want := m.take(), test.written
				if test.typ != typeIn && test.typ != typeGetID || len(test.data) == 0 {
					want = 1
				}
				if status := m.bytes(headAt+headerSize, 1)[0]; status != test.want || written != want {
					t.Errorf("status %d, %d bytes written; want %d, %d", status, written, test.want, want)
				}
				if test.want == statusOK && test.typ == typeIn {
					for _, p := range test.data {
						if !bytes.Equal(m.bytes(p.Addr, int(p.Len)), file[off:][:p.Len]) {
							t.Error("the read returned other data than the file has")
						}
						off += int(p.Len)
					}
				}
				if test.want == statusOK && test.typ == typeGetID {
					if id := string(bytes.TrimRight(m.bytes(dataAt, idSize), "\x00")); id != "disk.img" {
						t.Errorf("the device ID is %q", id)
					}
				}
				if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, file) {
					t.Errorf("the file differs (%v)", err)
				}
				if err := m.failed(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestUnusualLayouts sends requests whose buffers are split in other ways than
// drivers do it.
func TestUnusualLayouts(t *testing.T) {
	type pieces = []virtqueuetest.Buffer
	cut := func(b virtqueuetest.Buffer, n uint32) pieces {
		return pieces{{Addr: b.Addr, Len: n}, {Addr: b.Addr + uint64(n), Len: b.Len - n}}
	}
	for _, test := range []struct {
		name   string
		typ    uint32
		layout func(header, status virtqueuetest.Buffer) (out, in pieces)
		want   byte
	}{
		{"header in two pieces", typeIn, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return cut(h, 5), pieces{data(0, 4096), s}
		}, statusOK},
		{"status with the data", typeIn, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			d := data(0, 4097)
			d.Addr = s.Addr - 4096 // overlaps the header, which the device has already read
			return pieces{h}, pieces{d}
		}, statusOK},
		{"header with the data", typeOut, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return pieces{{Addr: h.Addr, Len: headerSize + 512}}, pieces{{Addr: dataAt, Len: 1}}
		}, statusOK},
		{"data split after one byte", typeOut, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return append(append(pieces{h}, cut(data(1, 3), 1)...), virtqueuetest.Buffer{Addr: dataAt + slot + 3, Len: 509}), pieces{s}
		}, statusOK},
		{"a short header", typeFlush, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return cut(h, 12)[:1], pieces{s}
		}, statusError},
		{"no header", typeFlush, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return nil, pieces{s}
		}, statusError},
		{"a read with data to write", typeIn, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return pieces{h, data(0, 512)}, pieces{data(1, 512), s}
		}, statusError},
		{"a write with data to read", typeOut, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return pieces{h, data(0, 512)}, pieces{data(1, 512), s}
		}, statusError},
		{"more data than a request may have", typeIn, func(h, s virtqueuetest.Buffer) (out, in pieces) {
			return pieces{h}, pieces{{Addr: dataAt, Len: 8 << 20}, s}
		}, statusError},
	} {
		for kind, open := range kinds {
			t.Run(test.name+", "+kind, func(t *testing.T) {
				m := newFixture(t, open(t, file(t, 16<<20), false), Options{}, allFeatures)
				h, s := m.header(0, test.typ, 8)
				out, in := test.layout(h, s)
				m.q.Add(out, in)
				m.kick()
				m.take()
				last := in[len(in)-1]
				if status := m.bytes(last.Addr+uint64(last.Len)-1, 1)[0]; status != test.want {
					t.Errorf("status %d, want %d", status, test.want)
				}
			})
		}
	}
}

func TestRequestWithoutStatusBufferFailsTheDevice(t *testing.T) {
	m := newFixture(t, backend(t, file(t, 1<<20), false), Options{}, allFeatures)
	h, _ := m.header(0, typeFlush, 0)
	m.q.Add([]virtqueuetest.Buffer{h}, nil)
	m.kick()
	for end := time.Now().Add(10 * time.Second); m.failed() == nil; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the device does not fail")
		}
	}
}

// TestUnalignedBuffersWithDirectIO writes and reads with addresses that
// O_DIRECT does not accept. The data are larger than the bounce buffer.
func TestUnalignedBuffersWithDirectIO(t *testing.T) {
	m := newFixture(t, direct(t, file(t, 4<<20), false), Options{}, allFeatures)
	const n = 2*bounceSize + 4096
	from := virtqueuetest.Buffer{Addr: dataAt + 3, Len: n}
	to := virtqueuetest.Buffer{Addr: dataAt + 4<<20 + 1001, Len: n}
	fill(m.bytes(from.Addr, n), 5)
	if s := m.do(typeOut, 8, from); s != statusOK {
		t.Fatal("write: status", s)
	}
	if s := m.do(typeIn, 8, virtqueuetest.Buffer{Addr: to.Addr, Len: 500}, virtqueuetest.Buffer{Addr: to.Addr + 500, Len: n - 500}); s != statusOK {
		t.Fatal("read: status", s)
	}
	if !bytes.Equal(m.bytes(from.Addr, n), m.bytes(to.Addr, n)) {
		t.Error("the read returned other data than the write stored")
	}
}

func TestBufferAcrossRegions(t *testing.T) {
	both := devicetest.Pages(t, 2<<20)
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: base, Mem: both[:1<<20]}, {Addr: base + 1<<20, Mem: both[1<<20:]}})
	if err != nil {
		t.Fatal(err)
	}
	b := direct(t, file(t, 1<<20), false)
	d, err := New(mem, b.File, b.Info, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := attach(t, d, mem, allFeatures)
	buffer := virtqueuetest.Buffer{Addr: base + 1<<20 - 4096, Len: 12288}
	want := bytes.Clone(fill(both[1<<20-4096:][:12288], 9))
	if s := m.do(typeOut, 0, buffer); s != statusOK {
		t.Fatal("write: status", s)
	}
	clear(both[1<<20-4096:])
	if s := m.do(typeIn, 0, buffer); s != statusOK || !bytes.Equal(both[1<<20-4096:][:12288], want) {
		t.Errorf("read: status %d, or other data than the write stored", s)
	}
}

func TestRequestsDoNotAllocate(t *testing.T) {
	for kind, open := range kinds {
		for _, o := range []Options{{}, {IOPS: 1e9, Rate: 1e12}, {IOPS: 2000}} {
			for typ, buffers := range map[uint32][]virtqueuetest.Buffer{
				typeIn: {data(0, 8192)}, typeOut: {data(0, 8192)}, typeFlush: nil,
			} {
				m := newFixture(t, open(t, file(t, 1<<20), false), o, allFeatures)
				m.post(0, typ, 0, buffers...)
				m.kick()
				m.take()
				again := m.repeater()
				for range 4 * depth { // until each goroutine has allocated what it keeps
					again()
				}
				if n := testing.AllocsPerRun(100, again); n > 0 {
					t.Errorf("%s, %+v, request %d: %v allocations", kind, o, typ, n)
				}
				if err := m.failed(); err != nil {
					t.Error(err)
				}
				m.stop()
			}
		}
	}
}

func TestRateLimits(t *testing.T) {
	for _, test := range []struct {
		name     string
		o        Options
		requests int
		n        int
	}{
		{"bytes", Options{Rate: 4 << 20}, 24, slot}, // minus a burst of 400 KiB
		{"requests", Options{IOPS: 200}, 80, 512},   // minus a burst of 20
		{"few requests", Options{IOPS: 10}, 4, 512}, // minus a burst of 1
		{"one large request", Options{Rate: 1 << 20}, 6, slot},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := newFixture(t, backend(t, file(t, 1<<20), false), test.o, allFeatures)
			begin := time.Now()
			for i := range test.requests {
				m.post(i%40, typeIn, 0, data(i%40, test.n))
				if i%40 == 39 || i == test.requests-1 {
					m.kick()
					for range i%40 + 1 {
						m.take()
					}
				}
			}
			// A bucket starts with the tokens for a tenth of a second, or with the
			// minimum.
			least := 0.0
			if r := float64(test.o.Rate); r > 0 {
				least = (float64(test.requests*test.n) - max(leastBytes, burst*r)) / r
			}
			if r := float64(test.o.IOPS); r > 0 {
				least = max(least, (float64(test.requests)-max(leastRequests, burst*r))/r)
			}
			if took := time.Since(begin).Seconds(); took < 0.98*least || took > 3*least+1 {
				t.Errorf("it took %.3f s, want %.3f", took, least)
			}
		})
	}
}

func TestStopDoesNotWaitForRateLimits(t *testing.T) {
	m := newFixture(t, backend(t, file(t, 1<<20), false), Options{Rate: 1, Queues: 2}, allFeatures)
	for i := range 2 * depth {
		m.post(i, typeIn, 0, data(i, slot))
	}
	m.kick()
	m.take() // this request found a full bucket
	begin := time.Now()
	m.dev.Stop()
	m.dev = nil
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Stop took %v", took)
	}
}

func TestRestart(t *testing.T) {
	b := backend(t, file(t, 1<<20), false)
	d, err := New(memory(t), b.File, b.Info, Options{Queues: 2})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		m := attach(t, d, d.mem, allFeatures&^featureFlush)
		fill(m.bytes(dataAt, 512), i)
		if s := m.do(typeOut, 0, data(0, 512)); s != statusOK {
			t.Fatal("status", s)
		}
		m.stop()
	}
}

func TestInfoSurvivesJSON(t *testing.T) {
	b := backend(t, file(t, 1<<20), true)
	text, err := json.Marshal(b.Info)
	if err != nil {
		t.Fatal(err)
	}
	var got Info
	if err := json.Unmarshal(text, &got); err != nil || got != b.Info {
		t.Errorf("%s, %+v, %v", text, got, err)
	}
}

func TestNewRefusesInvalidOptions(t *testing.T) {
	b := backend(t, file(t, 1<<20), false)
	for name, change := range map[string]func(i *Info, o *Options){
		"no size":                   func(i *Info, _ *Options) { i.Size = 0 },
		"an incomplete block":       func(i *Info, _ *Options) { i.Size = 1000 },
		"no blocks":                 func(i *Info, _ *Options) { i.BlockSize = 0 },
		"blocks not a power of 2":   func(i *Info, _ *Options) { i.BlockSize = 1536 },
		"physical blocks too small": func(i *Info, _ *Options) { i.BlockSize, i.Physical = 4096, 512 },
		"a negative rate":           func(_ *Info, o *Options) { o.Rate = -1 },
		"a negative request rate":   func(_ *Info, o *Options) { o.IOPS = -1 },
	} {
		i, o := b.Info, Options{}
		change(&i, &o)
		if _, err := New(memory(t), b.File, i, o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
