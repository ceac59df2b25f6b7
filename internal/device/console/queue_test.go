package console

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

const buffers = devicetest.Buffers

func start(t testing.TB, features uint64, ports ...Port) (*Device, *devicetest.Raw) {
	t.Helper()
	return devicetest.Begin(t, features|featureMultiport, func(mem *virtqueue.Memory) *Device { return New(mem, ports...) })
}

// expect provides a buffer for a control message, and checks the message that
// arrives.
func expect(t *testing.T, r *devicetest.Raw, want []byte) {
	t.Helper()
	r.Lend(queueControlReceive, buffers+0x1000, 64)
	n := r.Take(t, queueControlReceive)
	if got := r.Bytes(buffers+0x1000, n); !bytes.Equal(got, want) {
		t.Errorf("message %q, want %q", got, want)
	}
}

func message(id uint32, event, value uint16, more ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint16(b, event)
	b = binary.LittleEndian.AppendUint16(b, value)
	return append(b, more...)
}

// TestControlMessagesWaitForBuffers provides one buffer for control messages at
// a time.
func TestControlMessagesWaitForBuffers(t *testing.T) {
	_, w := pipe(t)
	for _, features := range []uint64{0, device.FeatureEventIdx} {
		d, r := start(t, features, Port{Name: "in"}, Port{Name: "out", Output: w, Window: true})
		d.Resize(80, 25)
		for i, m := range [][]byte{message(0, eventDeviceReady, 1), message(0, eventPortReady, 1), message(1, eventPortReady, 1),
			message(7, eventPortReady, 1), message(0, eventDeviceReady, 1), message(0, 99, 1), {1, 2, 3}} {
			if i == 1 {
				for id := range uint32(2) {
					expect(t, r, message(id, eventPortAdd, 0))
				}
			}
			r.Send(queueControlTransmit, buffers, m, 0)
			r.Take(t, queueControlTransmit)
		}
		for _, want := range [][]byte{message(1, eventResize, 0, 80, 0, 25, 0), append(message(0, eventPortName, 1), "in"...),
			append(message(1, eventPortName, 1), "out"...), message(0, eventPortOpen, 0), message(1, eventPortOpen, 1)} {
			expect(t, r, want)
		}
	}
}

func TestDrainWaitsForAvailableOutput(t *testing.T) {
	reader, w := pipe(t)
	d, r := start(t, 0, Port{Name: "out", Output: w})
	const each = 50 << 10 // the sum is more than a pipe holds
	got := make(chan []byte)
	go func() {
		b := make([]byte, 4*each)
		time.Sleep(10 * time.Millisecond) // a reader that starts late
		n, _ := io.ReadFull(reader, b)
		got <- b[:n]
	}()
	for i := range 4 {
		b := bytes.Repeat([]byte{byte('a' + i)}, each)
		copy(r.Bytes(buffers+uint32(i)*each, each), b)
		r.Drivers[queueTransmit].Add([]virtqueuetest.Buffer{{Addr: buffers + uint64(i)*each, Len: each}}, nil)
	}
	r.Drivers[queueTransmit].Publish() // without a notification
	d.Drain()
	for i := range 4 {
		if _, _, ok := r.Drivers[queueTransmit].Take(); !ok {
			t.Fatalf("chain %d is not used", i)
		}
	}
	if b := <-got; len(b) != 4*each || b[0] != 'a' || b[len(b)-1] != 'd' {
		t.Errorf("%d bytes arrived", len(b))
	}
}

func TestInputNeedsAnOpenPort(t *testing.T) {
	in, typist := pipe(t)
	io.WriteString(typist, "typed")
	_, r := start(t, 0, Port{Name: "in", Input: in})
	open := func(value uint16) {
		r.Send(queueControlTransmit, buffers, message(0, eventPortOpen, value), 0)
		r.Take(t, queueControlTransmit)
	}
	r.Lend(queueReceive, buffers+0x1000, 64)
	r.Send(queueControlTransmit, buffers, message(0, eventDeviceReady, 1), 0)
	r.Take(t, queueControlTransmit)
	time.Sleep(5 * time.Millisecond) // enough time for a wrong read
	if _, _, ok := r.Drivers[queueReceive].Take(); ok {
		t.Fatal("input for a port that is not open")
	}
	open(1)
	if n := r.Take(t, queueReceive); string(r.Bytes(buffers+0x1000, n)) != "typed" {
		t.Errorf("%q arrived", r.Bytes(buffers+0x1000, n))
	}
	r.Lend(queueReceive, buffers+0x1000, 64)
	open(0)
	open(1)
	io.WriteString(typist, "more")
	if n := r.Take(t, queueReceive); string(r.Bytes(buffers+0x1000, n)) != "more" {
		t.Errorf("%q arrived", r.Bytes(buffers+0x1000, n))
	}
}

func TestLyingDriverStopsOnlyItsQueue(t *testing.T) {
	for _, test := range []struct {
		name string
		lie  func(r *devicetest.Raw)
	}{
		{"a buffer too small for a control message", func(r *devicetest.Raw) {
			r.Lend(queueControlReceive, buffers, 4)
			r.Send(queueControlTransmit, buffers+64, message(0, eventDeviceReady, 1), 0)
		}},
		{"an input buffer that is not writable", func(r *devicetest.Raw) {
			r.Send(queueControlTransmit, buffers, message(0, eventDeviceReady, 1), 0)
			r.Send(queueControlTransmit, buffers+64, message(0, eventPortOpen, 1), 0)
			r.Send(queueReceive, buffers+128, []byte("text"), 0)
		}},
		{"a buffer outside of memory", func(r *devicetest.Raw) {
			r.Drivers[queueTransmit].Add([]virtqueuetest.Buffer{{Addr: devicetest.End, Len: 1}}, nil)
			r.Kick(queueTransmit)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, _ := pipe(t)
			other, w := pipe(t)
			d, r := start(t, 0, Port{Name: "port", Input: in, Output: w}, Port{Name: "other", Output: w})
			test.lie(r)
			if err := <-r.Failed; err == nil {
				t.Error("no error")
			}
			_, transmit := queuesOf(1)
			r.Send(transmit, buffers, []byte("x"), 0)
			if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			d.Drain()
		})
	}
}

func TestDriverWithoutMultiportIsRefused(t *testing.T) {
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: make([]byte, 4096)}})
	if err != nil {
		t.Fatal(err)
	}
	d := New(mem, Port{Name: "out"})
	if err := d.Start(device.FeatureVersion1, make([]device.Queue, len(d.Queues())), nil); err == nil {
		t.Error("Start returned no error")
	}
	if d.Config()[configMaxPorts] != 1 {
		t.Error("the configuration does not have one port")
	}
}

func TestDataPathDoesNotAllocate(t *testing.T) {
	in, typist := pipe(t)
	out, w := pipe(t)
	_, r := start(t, 0, Port{Name: "port", Input: in, Output: w})
	r.Send(queueControlTransmit, buffers, message(0, eventDeviceReady, 1), 0)
	r.Take(t, queueControlTransmit)
	r.Send(queueControlTransmit, buffers, message(0, eventPortOpen, 1), 0)
	r.Take(t, queueControlTransmit)
	b := make([]byte, 100)
	r.Send(queueTransmit, buffers, b, 0)
	r.Take(t, queueTransmit)
	r.Lend(queueReceive, buffers+0x1000, 100)
	typist.Write(b)
	r.Take(t, queueReceive)
	out.Read(b)
	if n := testing.AllocsPerRun(200, func() {
		r.Again(queueTransmit)
		out.Read(b)
		r.Used(queueTransmit)
		r.Again(queueReceive)
		typist.Write(b)
		r.Used(queueReceive)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLyingDriver lets the fuzzer write to the queues while the device runs.
func FuzzLyingDriver(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte("\x03\x00\x00\x01\x04\x00\x01\x01\x07\x03\x00\x00\x13\x03\x06\x01\x07\x03\x00\x00\x0b\x02\x00\x40\x07\x02\x00\x00"))
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		f.Fatal(err)
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		d, r := start(t, 0, Port{Name: "in", Input: null}, Port{Name: "zero", Input: zero, Output: null}, Port{Name: "nothing"})
		for len(script) >= 4 {
			op, a, b, v := script[0], script[1], script[2], script[3]
			script = script[4:]
			switch op % 8 {
			case 0, 1: // a control message that may be valid
				r.Send(queueControlTransmit, buffers+0x8000, message(uint32(a%4), uint16(b)%8, uint16(v)&1), 0)
			case 2:
				d.Resize(uint16(a), uint16(v))
			case 3:
				d.Drain()
			default:
				r.Lie(op/8, a, b, v)
			}
		}
	})
}
