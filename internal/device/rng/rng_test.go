package rng

import (
	"bytes"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	driver "github.com/pith-os/pith/libos/virtio/rng"
)

const buffers = devicetest.Buffers

func TestDriverReadsAnyLength(t *testing.T) {
	x := devicetest.Attach(t, New(devicetest.Memory(t, 1<<20)))
	d, errno := driver.Open(x)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	a, b := make([]byte, 1000), make([]byte, 1000)
	for _, p := range [][]byte{a, b} {
		if errno := d.Read(p); errno != 0 {
			t.Fatal(errno.Name())
		}
		// In 1,000 random bytes each value occurs about four times.
		if n := bytes.Count(p, []byte{0}); n > 40 {
			t.Errorf("%d zeros in 1,000 bytes", n)
		}
	}
	if bytes.Equal(a, b) {
		t.Error("two reads returned the same bytes")
	}
}

func TestAnswerLength(t *testing.T) {
	_, r := devicetest.Begin(t, device.FeatureEventIdx, New)
	for _, test := range []struct{ ask, got uint32 }{{1, 1}, {257, 257}, {maxAnswer, maxAnswer}, {4 * maxAnswer, maxAnswer}} {
		clear(r.Bytes(buffers, 4*maxAnswer))
		r.Lend(0, buffers, test.ask)
		if n := r.Take(t, 0); n != test.got {
			t.Errorf("%d bytes of %d, want %d", n, test.ask, test.got)
		}
		if !bytes.Equal(r.Bytes(buffers+test.got, 4*maxAnswer-test.got), make([]byte, 4*maxAnswer-test.got)) {
			t.Error("the device wrote beyond the length that it reported")
		}
	}
}

func TestReadOnlyBufferFailsTheDevice(t *testing.T) {
	_, r := devicetest.Begin(t, 0, New)
	r.Send(0, buffers, []byte("text"), 0)
	if err := <-r.Failed; err == nil {
		t.Error("no error")
	}
}

func TestAnswerDoesNotAllocate(t *testing.T) {
	_, r := devicetest.Begin(t, 0, New)
	r.Lend(0, buffers, 64)
	r.Take(t, 0)
	if n := testing.AllocsPerRun(100, func() {
		r.Again(0)
		r.Used(0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLyingDriver lets the fuzzer write to the queue while the device runs.
func FuzzLyingDriver(f *testing.F) {
	f.Add([]byte("\x02\x00\x10\x40\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		_, r := devicetest.Begin(t, 0, New)
		for ; len(script) >= 4; script = script[4:] {
			r.Lie(script[0], script[1], script[2], script[3])
		}
	})
}
