package console

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"
)

// Where a driver's queues and its buffers are: a step for each queue.
const (
	entries = 8
	step    = 0x1000
	buffers = 0x10_0000
	memSize = 0x20_0000
)

// raw is a driver of all queues of a console, that does what a test says.
type raw struct {
	d      *Device
	queues []device.Queue
	*virtqueuetest.Driver
	drivers []*virtqueuetest.Driver
	failed  chan error
}

func (r *raw) ConfigChanged() {}
func (r *raw) Fail(err error) { r.failed <- err }
func (r *raw) kick(queue int) { r.drivers[queue].Publish(); r.queues[queue].Kick.Signal() }
func (r *raw) bytes(a, n uint32) []byte {
	return r.Bytes(virtqueuetest.Buffer{Addr: uint64(a), Len: n})
}

func start(t testing.TB, features uint64, ports ...Port) *raw {
	t.Helper()
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: make([]byte, memSize)}})
	if err != nil {
		t.Fatal(err)
	}
	r := &raw{d: New(mem, ports...), failed: make(chan error, 16)}
	for i := range r.d.Queues() {
		q := virtqueuetest.New(mem, uint64(i*step), entries, features&device.FeatureEventIdx != 0)
		r.drivers = append(r.drivers, q)
		r.queues = append(r.queues, device.Queue{Layout: q.Layout, Kick: devicetest.Event(t), Call: devicetest.Event(t)})
	}
	r.Driver = r.drivers[0]
	if err := r.d.Start(features|featureMultiport|device.FeatureVersion1, r.queues, r); err != nil {
		t.Fatal(err)
	}
	return r
}

// send makes b available on a queue, at a.
func (r *raw) send(queue int, a uint32, b []byte) {
	copy(r.bytes(a, uint32(len(b))), b)
	r.drivers[queue].Add([]virtqueuetest.Buffer{{Addr: uint64(a), Len: uint32(len(b))}}, nil)
	r.kick(queue)
}

// lend makes room for n bytes available on a queue, at a.
func (r *raw) lend(queue int, a, n uint32) {
	r.drivers[queue].Add(nil, []virtqueuetest.Buffer{{Addr: uint64(a), Len: n}})
	r.kick(queue)
}

// take waits for the next used chain of a queue.
func (r *raw) take(t testing.TB, queue int) (n uint32) {
	t.Helper()
	devicetest.Eventually(t, fmt.Sprintf("a used chain of queue %d", queue), func() (ok bool) {
		_, n, ok = r.drivers[queue].Take()
		return ok
	})
	return n
}

func message(id uint32, event, value uint16, more ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint16(b, event)
	b = binary.LittleEndian.AppendUint16(b, value)
	return append(b, more...)
}

// TestMessagesWaitForBuffers has the driver give a buffer for control messages
// at a time.
func TestMessagesWaitForBuffers(t *testing.T) {
	_, w := pipe(t)
	for _, features := range []uint64{0, device.FeatureEventIdx} {
		r := start(t, features, Port{Name: "in"}, Port{Name: "out", Output: w, Window: true})
		r.d.Resize(80, 25)
		for i, m := range [][]byte{message(0, eventDeviceReady, 1), message(0, eventPortReady, 1), message(1, eventPortReady, 1),
			message(7, eventPortReady, 1), message(0, eventDeviceReady, 1), message(0, 99, 1), {1, 2, 3}} {
			if i == 1 {
				for id := range uint32(2) {
					r.expect(t, message(id, eventPortAdd, 0))
				}
			}
			r.send(queueControlTransmit, buffers, m)
			r.take(t, queueControlTransmit)
		}
		for _, want := range [][]byte{message(1, eventResize, 0, 80, 0, 25, 0), append(message(0, eventPortName, 1), "in"...),
			append(message(1, eventPortName, 1), "out"...), message(0, eventPortOpen, 0), message(1, eventPortOpen, 1)} {
			r.expect(t, want)
		}
		r.d.Stop()
	}
}

// expect gives a buffer for a control message, and waits for the message.
func (r *raw) expect(t *testing.T, want []byte) {
	t.Helper()
	r.lend(queueControlReceive, buffers+0x1000, 64)
	n := r.take(t, queueControlReceive)
	if got := r.bytes(buffers+0x1000, n); !bytes.Equal(got, want) {
		t.Errorf("message %q, want %q", got, want)
	}
}

func TestDrainWaitsUntilWhatIsAvailableIsWritten(t *testing.T) {
	reader, w := pipe(t)
	r := start(t, 0, Port{Name: "out", Output: w})
	defer r.d.Stop()
	const each = 50 << 10 // together more than a pipe holds
	got := make(chan []byte)
	go func() {
		b := make([]byte, 4*each)
		time.Sleep(10 * time.Millisecond) // a reader that is slow to begin
		n, _ := io.ReadFull(reader, b)
		got <- b[:n]
	}()
	for i := range 4 {
		b := bytes.Repeat([]byte{byte('a' + i)}, each)
		copy(r.bytes(buffers+uint32(i)*each, each), b)
		r.drivers[queueTransmit].Add([]virtqueuetest.Buffer{{Addr: buffers + uint64(i)*each, Len: each}}, nil)
	}
	r.drivers[queueTransmit].Publish() // and no notification
	r.d.Drain()
	for i := range 4 {
		if _, _, ok := r.drivers[queueTransmit].Take(); !ok {
			t.Fatalf("chain %d is not used", i)
		}
	}
	if b := <-got; len(b) != 4*each || b[0] != 'a' || b[len(b)-1] != 'd' {
		t.Errorf("%d bytes came", len(b))
	}
}

func TestInputComesWhenTheDriverHasThePortOpen(t *testing.T) {
	in, typist := pipe(t)
	io.WriteString(typist, "typed")
	r := start(t, 0, Port{Name: "in", Input: in})
	defer r.d.Stop()
	open := func(value uint16) {
		r.send(queueControlTransmit, buffers, message(0, eventPortOpen, value))
		r.take(t, queueControlTransmit)
	}
	r.lend(queueReceive, buffers+0x1000, 64)
	r.send(queueControlTransmit, buffers, message(0, eventDeviceReady, 1))
	r.take(t, queueControlTransmit)
	time.Sleep(5 * time.Millisecond) // would be enough to read
	if _, _, ok := r.drivers[queueReceive].Take(); ok {
		t.Fatal("input for a port that is not open")
	}
	open(1)
	if n := r.take(t, queueReceive); string(r.bytes(buffers+0x1000, n)) != "typed" {
		t.Errorf("%q came", r.bytes(buffers+0x1000, n))
	}
	r.lend(queueReceive, buffers+0x1000, 64)
	open(0)
	open(1)
	io.WriteString(typist, "more")
	if n := r.take(t, queueReceive); string(r.bytes(buffers+0x1000, n)) != "more" {
		t.Errorf("%q came", r.bytes(buffers+0x1000, n))
	}
}

func TestADriverThatLiesEndsItsQueueAlone(t *testing.T) {
	for _, test := range []struct {
		name string
		lie  func(r *raw)
	}{
		{"no room for a message", func(r *raw) {
			r.lend(queueControlReceive, buffers, 4)
			r.send(queueControlTransmit, buffers+64, message(0, eventDeviceReady, 1))
		}},
		{"a buffer for input that is for output", func(r *raw) {
			r.send(queueControlTransmit, buffers, message(0, eventDeviceReady, 1))
			r.send(queueControlTransmit, buffers+64, message(0, eventPortOpen, 1))
			r.send(queueReceive, buffers+128, []byte("text"))
		}},
		{"a buffer outside of memory", func(r *raw) {
			r.drivers[queueTransmit].Add([]virtqueuetest.Buffer{{Addr: memSize, Len: 1}}, nil)
			r.kick(queueTransmit)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, _ := pipe(t)
			other, w := pipe(t)
			r := start(t, 0, Port{Name: "port", Input: in, Output: w}, Port{Name: "other", Output: w})
			test.lie(r)
			if err := <-r.failed; err == nil {
				t.Error("no error")
			}
			_, transmit := queuesOf(1)
			r.send(transmit, buffers, []byte("x"))
			if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			r.d.Drain()
			r.d.Stop()
		})
	}
}

func TestADriverOfOnePortIsRefused(t *testing.T) {
	mem, err := virtqueue.NewMemory([]virtqueue.Region{{Addr: 0, Mem: make([]byte, 4096)}})
	if err != nil {
		t.Fatal(err)
	}
	d := New(mem, Port{Name: "out"})
	if err := d.Start(device.FeatureVersion1, make([]device.Queue, len(d.Queues())), nil); err == nil {
		t.Error("it was not")
	}
	if d.Config()[configMaxPorts] != 1 {
		t.Error("ports in the configuration")
	}
}

func TestTheDataPathAllocatesNothing(t *testing.T) {
	in, typist := pipe(t)
	out, w := pipe(t)
	r := start(t, 0, Port{Name: "port", Input: in, Output: w})
	defer r.d.Stop()
	r.send(queueControlTransmit, buffers, message(0, eventDeviceReady, 1))
	r.take(t, queueControlTransmit)
	r.send(queueControlTransmit, buffers, message(0, eventPortOpen, 1))
	r.take(t, queueControlTransmit)
	b := make([]byte, 100)
	waiting := func(queue int) {
		for ok := false; !ok; _, _, ok = r.drivers[queue].Take() {
			time.Sleep(10 * time.Microsecond)
		}
	}
	each := func() {
		r.send(queueTransmit, buffers, b)
		waiting(queueTransmit)
		if _, err := io.ReadFull(out, b); err != nil {
			t.Fatal(err)
		}
		r.lend(queueReceive, buffers+0x1000, 100)
		if _, err := typist.Write(b); err != nil {
			t.Fatal(err)
		}
		waiting(queueReceive)
	}
	// What the test's own driver allocates: the names of descriptors that a
	// chain has, in a map.
	const own = 2
	if n := testing.AllocsPerRun(200, each); n > own {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLyingDriver lets the fuzzer write a driver's memory while the device runs.
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
		r := start(t, 0, Port{Name: "in", Input: null}, Port{Name: "zero", Input: zero, Output: null}, Port{Name: "nothing"})
		for i := 0; len(script) >= 4; i++ {
			op, a, b, v := script[0], script[1], script[2], script[3]
			script = script[4:]
			queue := int(a) % len(r.drivers)
			d := r.drivers[queue]
			switch op % 8 {
			case 0: // any byte of the rings
				part := [][]byte{d.Desc, d.Avail, d.Used}[int(op/8)%3]
				part[int(b)%len(part)] = v
			case 1:
				virtqueuetest.SetDesc(d.Desc, int(b)%entries, buffers+uint64(v)*64, uint32(b)+1, uint16(op/8)&7, uint16(v)%entries)
			case 2:
				d.Add(nil, []virtqueuetest.Buffer{{Addr: buffers + uint64(b)*64, Len: uint32(v) + 1}})
			case 3, 4: // a control message that may be right
				r.send(queueControlTransmit, buffers+0x8000, message(uint32(a%4), uint16(op/8)%8, uint16(v)&1))
			case 5:
				r.d.Resize(uint16(a), uint16(v))
			case 6:
				r.d.Drain()
			default:
				r.queues[queue].Kick.Signal()
				d.Publish()
			}
		}
		r.d.Stop()
		for i := range r.queues { // the fuzzer has no end of inputs
			r.queues[i].Kick.Close()
			r.queues[i].Call.Close()
		}
	})
}
