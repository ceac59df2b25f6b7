package balloon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

const buffers = devicetest.Buffers

func start(t testing.TB, discard func(pages []byte) error) (*Device, *devicetest.Raw) {
	t.Helper()
	return devicetest.Begin(t, featureReporting, func(mem *virtqueue.Memory) *Device { return New(mem, discard) })
}

func numbers(pages ...uint32) (b []byte) {
	for _, n := range pages {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return b
}

// run is a run of discarded pages: the number of the first page, and the page
// count.
type run struct{ first, pages int }

// recorded starts a balloon. The function that it returns lists the pages
// discarded since its last call; it counts page numbers from addr.
func recorded(t *testing.T) (*devicetest.Raw, func(addr uint32) []run) {
	pages := make(chan []byte, 100)
	_, r := start(t, func(p []byte) error {
		pages <- p
		return nil
	})
	return r, func(addr uint32) (runs []run) {
		base := uintptr(unsafe.Pointer(&r.Bytes(addr, 1)[0]))
		for len(pages) > 0 {
			p := <-pages
			runs = append(runs, run{int(uintptr(unsafe.Pointer(&p[0]))-base) / pageSize, len(p) / pageSize})
		}
		return runs
	}
}

func TestInflateDiscardsPages(t *testing.T) {
	many := make([]uint32, 3000)
	for i := range many {
		many[i] = 100 + uint32(i%150)
	}
	const last = devicetest.End/pageSize - 1
	for _, test := range []struct {
		name  string
		pages []byte
		want  []run
	}{
		{"one page", numbers(7), []run{{7, 1}}},
		{"two runs", numbers(0x100, 0x101, 0x103), []run{{0x100, 2}, {0x103, 1}}},
		{"descending", numbers(0x103, 0x102), []run{{0x103, 1}, {0x102, 1}}},
		{"more numbers than one copy holds", numbers(many...), slices.Repeat([]run{{100, 150}}, 20)},
		{"beyond memory", numbers(last, last+1, last+2, 0xffffffff), []run{{last, 1}}},
		{"incomplete number", []byte{7, 0, 0, 0, 9}, []run{{7, 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, discarded := recorded(t)
			for _, queue := range []int{queueInflate, queueDeflate} { // deflate discards nothing
				r.Send(queue, buffers, test.pages, 0)
				r.Take(t, queue)
			}
			if got := discarded(0); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestReportDiscardsWholePages(t *testing.T) {
	for _, test := range []struct {
		at, n uint32
		want  []run // page numbers relative to buffers
	}{
		{0, pageSize, []run{{0, 1}}},
		{pageSize, 10 * pageSize, []run{{1, 10}}},
		{1, 2*pageSize - 1, []run{{1, 1}}},
		{1, 2*pageSize - 2, nil},
		{100, 10, nil},
		{pageSize - 1, 1, nil},
	} {
		t.Run(fmt.Sprint(test.at, "+", test.n), func(t *testing.T) {
			r, discarded := recorded(t)
			r.Lend(queueReports, buffers+test.at, test.n)
			r.Take(t, queueReports)
			if got := discarded(buffers); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

// TestDiscardFreesHostMemory discards pages of a memfd, the memory of a real
// VM.
func TestDiscardFreesHostMemory(t *testing.T) {
	fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const n = 64 * pageSize
	if err := unix.Ftruncate(fd, n); err != nil {
		t.Fatal(err)
	}
	mem, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	for i := range mem {
		mem[i] = 1
	}
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	before := blocks()
	d := New(nil, Discard)
	if err := d.drop(mem[pageSize : n-1]); err != nil {
		t.Fatal(err)
	}
	if freed := before - blocks(); freed != n-2*pageSize {
		t.Errorf("the host got %d bytes back", freed)
	}
	if !bytes.Equal(mem[pageSize:n-pageSize], make([]byte, n-2*pageSize)) || mem[pageSize-1] != 1 || mem[n-pageSize] != 1 {
		t.Error("the discarded pages are not zero, or their neighbours changed")
	}
}

func TestDiscardErrorFailsTheDevice(t *testing.T) {
	cause := errors.New("no")
	_, r := start(t, func([]byte) error { return cause })
	r.Lend(queueReports, buffers, pageSize)
	if err := <-r.Failed; !errors.Is(err, cause) {
		t.Error(err)
	}
}

func TestTooManyPageNumbersFailTheDevice(t *testing.T) {
	_, r := start(t, func([]byte) error { return nil })
	r.Send(queueInflate, buffers, make([]byte, 4*maxNumbers+4), 0)
	if err := <-r.Failed; err == nil {
		t.Error("no error")
	}
}

func TestConfiguration(t *testing.T) {
	d, r := start(t, func([]byte) error { return nil })
	d.SetPages(0x12345)
	<-r.Changed
	if c := d.Config(); !bytes.Equal(c, []byte{0x45, 0x23, 1, 0, 0, 0, 0, 0}) {
		t.Errorf("configuration % x", c)
	}
	d.SetConfig(configPages, []byte{9, 9, 9, 9}) // the driver may not write this field
	d.SetConfig(configActual+3, []byte{1, 2, 3, 4})
	d.SetConfig(configActual, []byte{0x11, 0x22, 0x33})
	d.SetConfig(configSize, []byte{1})
	d.SetConfig(-1, []byte{1})
	if n := d.Pages(); n != 0x1332211 {
		t.Errorf("%#x pages", n)
	}
	r.Stop()
	if n := d.Pages(); n != 0 {
		t.Errorf("%#x pages after the device stopped", n)
	}
	d.SetPages(1) // a stopped device has no bus to notify
}

func TestTheDataPathAllocatesNothing(t *testing.T) {
	_, r := start(t, func([]byte) error { return nil })
	r.Send(queueInflate, buffers, numbers(1, 2, 3, 7, 8), 0)
	r.Take(t, queueInflate)
	r.Lend(queueReports, buffers, 8*pageSize)
	r.Take(t, queueReports)
	if n := testing.AllocsPerRun(100, func() {
		for _, queue := range []int{queueInflate, queueReports} {
			r.Again(queue)
			r.Used(queue)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLyingDriver lets the fuzzer write to the queues while the device runs.
func FuzzLyingDriver(f *testing.F) {
	f.Add([]byte("\x02\x00\x10\x40\x03\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x08\x40\x00\x04\x02\x01\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		low, high := uintptr(0), uintptr(0)
		_, r := devicetest.Begin(t, featureReporting|device.FeatureIndirect, func(mem *virtqueue.Memory) *Device {
			all, _ := mem.Slice(0, devicetest.End)
			low = uintptr(unsafe.Pointer(&all[0]))
			high = low + uintptr(len(all))
			return New(mem, func(p []byte) error {
				at := uintptr(unsafe.Pointer(&p[0]))
				if at < low || at+uintptr(len(p)) > high || (at|uintptr(len(p)))%pageSize != 0 {
					panic("discard of something other than whole guest pages")
				}
				return nil
			})
		})
		for ; len(script) >= 4; script = script[4:] {
			r.Lie(script[0], script[1], script[2], script[3])
		}
	})
}
