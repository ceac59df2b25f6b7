package vsock

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"

	"golang.org/x/sys/unix"
)

// raw is a driver that sends the packets of a test.
type raw struct {
	t *testing.T
	*devicetest.Raw
	b    *Broker
	next uint32 // number of the next buffer to lend
	lent []uint32
}

const lendSize = 8 << 10

func newRaw(t *testing.T) *raw {
	t.Helper()
	b := host(t)
	_, r := devicetest.Begin(t, device.FeatureEventIdx, func(mem *virtqueue.Memory) *Device { return newDevice(t, mem, b) })
	x := &raw{t: t, Raw: r, b: b}
	for range 8 {
		x.lend()
	}
	return x
}

// lend gives the device a receive buffer.
func (r *raw) lend() {
	at := devicetest.Buffers + r.next%16*lendSize
	r.next++
	r.Lend(queueReceive, at, lendSize)
	r.lent = append(r.lent, at)
}

// guestPort is the guest port of all connections of the driver.
const guestPort = 1234

// packet returns the header of a packet from the guest.
func packet(op uint16, port uint32) header {
	return header{srcCID: guestCID, dstCID: hostCID, srcPort: guestPort, dstPort: port, typ: typeStream, op: op, alloc: 64 << 10}
}

// send sends a packet, and waits until the device has taken it.
func (r *raw) send(h header, data []byte) {
	r.t.Helper()
	var b [headerSize]byte
	h.len = uint32(len(data))
	h.put(&b)
	r.Send(queueTransmit, devicetest.Buffers+512<<10, append(b[:], data...), 0)
	r.Take(r.t, queueTransmit)
}

// receive waits for a packet of the device.
func (r *raw) receive() (header, []byte) {
	r.t.Helper()
	n := r.Take(r.t, queueReceive)
	p := bytes.Clone(r.Bytes(r.lent[0], lendSize))
	r.lent = r.lent[1:]
	r.lend()
	h := parseHeader((*[headerSize]byte)(p))
	if n != headerSize+h.len {
		r.t.Fatalf("a packet of %d bytes with %d of data", n, h.len)
	}
	return h, p[headerSize:n]
}

// expect waits for a packet of the connection to port, with operation op.
func (r *raw) expect(op uint16, port uint32) (header, []byte) {
	r.t.Helper()
	h, data := r.receive()
	if h.op != op || h.srcPort != port || h.dstPort != guestPort || h.srcCID != hostCID || h.dstCID != guestCID || h.typ != typeStream {
		r.t.Fatalf("%+v; want operation %d from port %d", h, op, port)
	}
	return h, data
}

// nothing checks that the device has no packet pending: the next one is the
// answer to a packet that nothing sends.
func (r *raw) nothing() {
	r.t.Helper()
	r.send(packet(opData, 4), nil)
	r.expect(opReset, 4)
}

// connect connects to port of the host.
func (r *raw) connect(port uint32) net.Conn {
	r.t.Helper()
	l := service(r.t, r.b, port)
	r.send(packet(opRequest, port), nil)
	c, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	if h, _ := r.expect(opResponse, port); h.alloc != bufferSize {
		r.t.Errorf("buf_alloc is %d bytes", h.alloc)
	}
	return c
}

// ended checks that the device has closed a connection. c is the host's end.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if got, err := io.ReadAll(c); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPacketsWithoutAConnection(t *testing.T) {
	with := func(h header, change func(h *header)) header { change(&h); return h }
	for name, test := range map[string]struct {
		h     header
		reset bool
	}{
		"data":                 {packet(opData, 9), true},
		"response":             {packet(opResponse, 9), true},
		"shutdown":             {packet(opShutdown, 9), true},
		"credit update":        {packet(opCreditUpdate, 9), true},
		"an unknown operation": {packet(77, 9), true},
		"a refused connect":    {packet(opRequest, 9), true},
		"a reset":              {packet(opReset, 9), false},
		"another type":         {with(packet(opRequest, 9), func(h *header) { h.typ = 2 }), true},
		"to another CID":       {with(packet(opRequest, 9), func(h *header) { h.dstCID = 9 }), true},
		"from another CID":     {with(packet(opRequest, 9), func(h *header) { h.srcCID = 9 }), false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRaw(t)
			r.send(test.h, nil)
			if test.reset {
				h, _ := r.receive()
				want := test.h.refusal()
				if h.alloc = 0; h != want {
					t.Errorf("%+v, want %+v", h, want)
				}
			}
			r.nothing()
		})
	}
}

func TestPacketsThatEndAConnection(t *testing.T) {
	for name, send := range map[string]func(r *raw){
		"a second connect":     func(r *raw) { r.send(packet(opRequest, 9), nil) },
		"a response":           func(r *raw) { r.send(packet(opResponse, 9), nil) },
		"an unknown operation": func(r *raw) { r.send(packet(77, 9), nil) },
		"data after a shutdown": func(r *raw) {
			h := packet(opShutdown, 9)
			h.flags = shutSend
			r.send(h, nil)
			r.send(packet(opData, 9), []byte("more"))
		},
		"shutdown of both directions": func(r *raw) {
			h := packet(opShutdown, 9)
			h.flags = shutReceive
			r.send(h, nil)
			h.flags = shutSend
			r.send(h, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRaw(t)
			c := r.connect(9)
			send(r)
			for {
				if h, _ := r.receive(); h.op == opReset && h.srcPort == 9 {
					break
				} else if h.op != opCreditUpdate {
					t.Fatalf("%+v", h)
				}
			}
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Error(err)
			}
			r.nothing()
			r.send(packet(opData, 9), nil)
			r.expect(opReset, 9)
		})
	}
}

func TestDataBeyondTheCreditEndsAConnection(t *testing.T) {
	r := newRaw(t)
	c := r.connect(9)
	for range 1 << 20 / (32 << 10) { // the host does not read the data
		r.send(packet(opData, 9), make([]byte, 32<<10))
		r.send(packet(opCreditRequest, 9), nil)
		if h, _ := r.receive(); h.op == opReset {
			if n, err := io.Copy(io.Discard, c); err != nil || n < bufferSize {
				t.Errorf("the host got %d bytes, %v", n, err)
			}
			return
		}
	}
	t.Error("the device takes data beyond the credit")
}

func TestResetByTheGuestClosesTheConnection(t *testing.T) {
	r := newRaw(t)
	c := r.connect(9)
	r.send(packet(opReset, 9), nil)
	ended(t, c)
	r.nothing()
}

func TestCredit(t *testing.T) {
	r := newRaw(t)
	c := r.connect(9)
	// Credit of the guest: the device does not send more than it allows.
	h := packet(opCreditUpdate, 9)
	h.alloc = 1000
	r.send(h, nil)
	if _, err := c.Write(make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	if _, data := r.expect(opData, 9); len(data) != 1000 {
		t.Errorf("%d bytes", len(data))
	}
	r.nothing()
	h.forwarded = 600
	r.send(h, nil)
	if _, data := r.expect(opData, 9); len(data) != 600 {
		t.Errorf("%d bytes", len(data))
	}
	h.alloc = 100 // less than is in flight
	r.send(h, nil)
	r.nothing()
	h.alloc, h.forwarded = 64<<10, 1600
	r.send(h, nil)
	if _, data := r.expect(opData, 9); len(data) != 1400 {
		t.Errorf("%d bytes", len(data))
	}
	// Credit of the device: it reports what the host has taken.
	h = packet(opData, 9)
	h.forwarded = 3000
	r.send(h, make([]byte, 5000))
	h.op = opCreditRequest
	r.send(h, nil)
	if h, _ := r.expect(opCreditUpdate, 9); h.alloc != bufferSize || h.forwarded != 5000 {
		t.Errorf("buf_alloc %d, fwd_cnt %d", h.alloc, h.forwarded)
	}
	h.op = opData
	r.send(h, make([]byte, bufferSize/4))
	if h, _ := r.expect(opCreditUpdate, 9); h.forwarded != 5000+bufferSize/4 {
		t.Errorf("fwd_cnt %d", h.forwarded)
	}
}

// TestGuestWithoutReceiveBuffers sends packets that cause answers, but lends no
// buffers. The device must stop taking packets until it gets buffers.
func TestGuestWithoutReceiveBuffers(t *testing.T) {
	b := host(t)
	_, r := devicetest.Begin(t, 0, func(mem *virtqueue.Memory) *Device { return newDevice(t, mem, b) })
	x := &raw{t: t, Raw: r, b: b}
	var head [headerSize]byte
	h := packet(opData, 9)
	h.put(&head)
	sent, taken := 0, 0
	take := func() {
		if _, _, ok := r.Drivers[queueTransmit].Take(); ok {
			taken++
		}
	}
	for sent < maxRefusals+devicetest.Entries {
		r.Send(queueTransmit, devicetest.Buffers+512<<10, head[:], 0)
		sent++
		for sent-taken == devicetest.Entries && taken < maxRefusals {
			take()
		}
	}
	if taken != maxRefusals {
		t.Errorf("the device took %d packets", taken)
	}
	answers := 0
	for answers < sent {
		x.lend()
		x.lent = nil
		r.Take(t, queueReceive)
		answers++
	}
	for taken < sent {
		take()
	}
}

func TestInvalidPacketsFailTheDevice(t *testing.T) {
	for name, lie := range map[string]func(r *raw){
		"a packet without a header": func(r *raw) { r.Send(queueTransmit, devicetest.Buffers, make([]byte, headerSize-1), 0) },
		"a packet without its data": func(r *raw) {
			h := packet(opData, 9)
			h.len = 1
			var b [headerSize]byte
			h.put(&b)
			r.Send(queueTransmit, devicetest.Buffers, b[:], 0)
		},
	} {
		r := newRaw(t)
		lie(r)
		select {
		case <-r.Failed:
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the device does not fail", name)
		}
	}
	b := host(t)
	_, r := devicetest.Begin(t, 0, func(mem *virtqueue.Memory) *Device { return newDevice(t, mem, b) })
	r.Lend(queueReceive, devicetest.Buffers, headerSize)
	x := &raw{t: t, Raw: r, b: b}
	x.send(packet(opData, 9), nil)
	select {
	case <-r.Failed:
	case <-time.After(10 * time.Second):
		t.Error("a buffer without room for data: the device does not fail")
	}
}

func TestDataPathDoesNotAllocate(t *testing.T) {
	b := host(t)
	_, r := devicetest.Begin(t, 0, func(mem *virtqueue.Memory) *Device { return newDevice(t, mem, b) })
	x := &raw{t: t, Raw: r, b: b}
	x.lend()
	l := service(t, b, 9)
	// One chain is used for the connect, and then repeatedly for data.
	p := make([]byte, 4000)
	at := devicetest.Buffers + uint32(512<<10)
	h := packet(opRequest, 9)
	h.put((*[headerSize]byte)(r.Bytes(at, headerSize)))
	r.Send(queueTransmit, at, bytes.Clone(r.Bytes(at, headerSize+uint32(len(p)))), 0)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.Take(t, queueReceive)
	file, err := c.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd := int(file.Fd())
	h.op, h.len, h.alloc = opData, uint32(len(p)), 1<<30
	h.put((*[headerSize]byte)(r.Bytes(at, headerSize)))
	if n := testing.AllocsPerRun(20, func() {
		r.Again(queueTransmit)
		x.read(fd, p)
		r.Used(queueTransmit)
	}); n > 0 {
		t.Errorf("to the host: %v allocations", n)
	}
	r.Again(queueReceive) // for the credit update
	if n := testing.AllocsPerRun(100, func() {
		if _, err := unix.Write(fd, p); err != nil {
			t.Fatal(err)
		}
		r.Used(queueReceive)
		r.Again(queueReceive)
	}); n > 0 {
		t.Errorf("to the guest: %v allocations", n)
	}
}

func (r *raw) read(fd int, p []byte) {
	for done := 0; done < len(p); {
		n, err := unix.Read(fd, p[done:])
		if err != nil || n == 0 {
			r.t.Fatal("read:", err)
		}
		done += n
	}
}

func TestConfigurationHasTheCID(t *testing.T) {
	b := host(t)
	d := newDevice(t, nil, b)
	if c := d.Config(); !bytes.Equal(c, []byte{guestCID, 0, 0, 0, 0, 0, 0, 0}) {
		t.Error(c)
	}
	for _, cid := range []uint64{0, 1, 2, 1<<32 - 1, 1 << 40} {
		if _, err := New(nil, cid, b.Listener, b.Device); err == nil {
			t.Errorf("New accepted CID %d", cid)
		}
	}
}
