package backend

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/internal/virtqueue/virtqueuetest"

	"golang.org/x/sys/unix"
)

var _ link.Link = (*Link)(nil)

const (
	csum, guestCsum, guestTSO4, guestTSO6, hostTSO4, mrgRxbuf = 1 << 0, 1 << 1, 1 << 7, 1 << 8, 1 << 11, 1 << 15
	indirect, eventIdx, version1                              = 1 << 28, 1 << 29, 1 << 32

	all = csum | guestCsum | guestTSO4 | guestTSO6 | hostTSO4 | mrgRxbuf | eventIdx | version1

	entries = 256
	buffers = 0x1000_0000 // guest-physical address of the buffers
	space   = 1 << 20     // bytes of buffers
)

type buffer = virtqueuetest.Buffer

// guest is a driver with its memory, and the link.
type guest struct {
	testing.TB
	card   *Link
	mem    *virtqueue.Memory
	queues []*virtqueuetest.Driver // numbered as in Link
	calls  []int                   // interrupts per queue
	free   uint64                  // bytes of buffers in use
}

func newGuest(t testing.TB, pairs int, features uint64) *guest {
	t.Helper()
	card, err := New(pairs)
	if err != nil {
		t.Fatal(err)
	}
	step := virtqueuetest.Size(entries)
	mem, err := virtqueue.NewMemory([]virtqueue.Region{
		{Addr: 0, Mem: mapped(t, int(step)*2*pairs)},
		{Addr: buffers, Mem: mapped(t, space)},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{TB: t, card: card, mem: mem, calls: make([]int, 2*pairs)}
	for i := range 2 * pairs {
		g.queues = append(g.queues, virtqueuetest.New(mem, step*uint64(i), entries, features&eventIdx != 0))
		g.start(i, features, 0)
		card.Enable(i, true)
	}
	return g
}

// mapped returns n bytes outside the Go heap, like a guest's memory. The virtio
// specification orders concurrent accesses to it, and the race detector does not
// see them.
func mapped(t testing.TB, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (g *guest) start(i int, features uint64, next uint16) *virtqueue.Queue {
	g.Helper()
	opts := virtqueue.Options{EventIndex: features&eventIdx != 0, Indirect: features&indirect != 0}
	q, err := virtqueue.New(g.mem, g.queues[i].Layout, opts, next)
	if err != nil {
		g.Fatal(err)
	}
	g.card.Start(i, q, features, func() { g.calls[i]++ })
	return q
}

// alloc returns n unused bytes of the guest's memory.
func (g *guest) alloc(n int) buffer {
	b := buffer{Addr: buffers + g.free, Len: uint32(n)}
	g.free += uint64(n)
	return b
}

// post adds count buffers of n bytes to a receive queue.
func (g *guest) post(queue, count, n int) (posted []buffer) {
	g.Helper()
	d := g.queues[queue]
	for range count {
		b := g.alloc(n)
		if _, ok := d.Add(nil, []buffer{b}); !ok {
			g.Fatal("the queue is full")
		}
		posted = append(posted, b)
	}
	if d.Publish() {
		g.card.Notify(queue)
	}
	return posted
}

// send transmits one packet in pieces.
func (g *guest) send(queue int, pieces ...[]byte) {
	g.Helper()
	var out []buffer
	for _, p := range pieces {
		b := g.alloc(len(p))
		copy(g.queues[queue].Bytes(b), p)
		out = append(out, b)
	}
	if _, ok := g.queues[queue].Add(out, nil); !ok {
		g.Fatal("the queue is full")
	}
	if g.queues[queue].Publish() {
		g.card.Notify(queue)
	}
}

// received returns the next packet that the link put into the posted buffers, and
// the buffers that are left.
func (g *guest) received(queue int, posted []buffer) (packet []byte, left []buffer) {
	g.Helper()
	d := g.queues[queue]
	for n := 1; n > 0; n-- {
		_, size, ok := d.Take()
		if !ok {
			g.Fatal("a packet is cut off")
		}
		b := d.Bytes(posted[0])[:size]
		posted = posted[1:]
		if packet == nil {
			n = int(binary.LittleEndian.Uint16(b[10:]))
		}
		packet = append(packet, b...)
	}
	return packet, posted
}

func (g *guest) read(max int) (pkts []link.Packet, sizes []int) {
	g.Helper()
	pkts, sizes = make([]link.Packet, max), make([]int, max)
	for i := range pkts {
		pkts[i] = link.Packet{make([]byte, 26), make([]byte, 65535)}
	}
	n, err := g.card.ReadPackets(pkts, sizes)
	if err != nil {
		g.Fatal(err)
	}
	return pkts[:n], sizes[:n]
}

// pattern returns a packet of n bytes without offload. n includes the header.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := 12; i < n; i++ {
		b[i] = byte(i * 7 / 5)
	}
	b[10] = 1
	return b
}

func join(p link.Packet, n int) []byte { return bytes.Join(p, nil)[:n] }

func TestTransmittedPacketsArriveWhole(t *testing.T) {
	g := newGuest(t, 1, all)
	want := [][]byte{pattern(12 + 60), pattern(12 + 1514), pattern(12 + 14 + 65535), pattern(40)}
	g.send(1, want[0])
	g.send(1, want[1][:12], want[1][12:500], want[1][500:])
	g.send(1, want[2][:1], want[2][1:30000], want[2][30000:])
	g.send(1, want[3])
	var got [][]byte
	for len(got) < len(want) {
		pkts, sizes := g.read(3)
		for i := range pkts {
			got = append(got, join(pkts[i], sizes[i]))
		}
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("packet %d differs", i)
		}
		if _, n, ok := g.queues[1].Take(); !ok || n != 0 {
			t.Errorf("packet %d: used with %d bytes, %t", i, n, ok)
		}
	}
	if g.calls[1] == 0 {
		t.Error("the driver got no interrupt")
	}
}

func TestPacketThatIsTooLongIsDropped(t *testing.T) {
	g := newGuest(t, 1, all)
	g.send(1, make([]byte, 12+14+65536))
	if _, sizes := g.read(1); sizes[0] != 0 {
		t.Errorf("the packet has %d bytes, want 0", sizes[0])
	}
	if _, _, ok := g.queues[1].Take(); !ok {
		t.Error("its chain is not used")
	}
}

func TestReceivedPacketsAreMerged(t *testing.T) {
	g := newGuest(t, 1, all)
	posted := g.post(0, 100, 1500)
	want := [][]byte{pattern(70), pattern(12 + 14 + 65535), pattern(3000), pattern(3001)}
	if err := g.card.WritePackets([]link.Packet{{want[0]}, {want[1][:5], want[1][5:26], want[1][26:]}, {want[2]}, {want[3][:12], want[3][12:]}}); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{1, 44, 2, 3} {
		var got []byte
		got, posted = g.received(0, posted)
		binary.LittleEndian.PutUint16(want[i][10:], uint16(n))
		if !bytes.Equal(got, want[i]) {
			t.Errorf("packet %d differs", i)
		}
	}
	if g.calls[0] != 1 {
		t.Errorf("%d interrupts for one batch, want 1", g.calls[0])
	}
}

func TestReceivingWaitsForRoom(t *testing.T) {
	for _, features := range []uint64{all, all &^ eventIdx} {
		g := newGuest(t, 1, features)
		posted := g.post(0, 2, 1000)
		done := make(chan error)
		go func() { done <- g.card.WritePackets([]link.Packet{{pattern(900)}, {pattern(2500)}, {pattern(50)}}) }()
		for g.queues[0].Listen(); ; {
			select {
			case <-done:
				t.Fatal("WritePackets returned without room")
			case <-time.After(time.Millisecond):
			}
			if g.queues[0].Listen() {
				break // the first packet has come
			}
		}
		first, posted := g.received(0, posted)
		if len(first) != 900 {
			t.Errorf("the first packet has %d bytes", len(first))
		}
		posted = append(posted, g.post(0, 1, 1000)...)
		posted = append(posted, g.post(0, 2, 1000)...)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{2500, 50} {
			var got []byte
			if got, posted = g.received(0, posted); len(got) != want {
				t.Errorf("%d bytes, not %d", len(got), want)
			}
		}
	}
}

func TestPacketThatCannotFitIsDropped(t *testing.T) {
	t.Run("not merged", func(t *testing.T) {
		g := newGuest(t, 1, all&^mrgRxbuf)
		posted := g.post(0, 1, 1000)
		if err := g.card.WritePackets([]link.Packet{{pattern(1001)}, {pattern(1000)}}); err != nil {
			t.Fatal(err)
		}
		if got, _ := g.received(0, posted); len(got) != 1000 {
			t.Errorf("%d bytes", len(got))
		}
	})
	t.Run("merged", func(t *testing.T) {
		g := newGuest(t, 1, all)
		posted := g.post(0, entries, 100)
		if err := g.card.WritePackets([]link.Packet{{pattern(100*entries + 1)}, {pattern(100 * entries)}}); err != nil {
			t.Fatal(err)
		}
		if got, _ := g.received(0, posted); len(got) != 100*entries {
			t.Errorf("%d bytes", len(got))
		}
	})
}

func TestDisabledQueueDeliversNothing(t *testing.T) {
	g := newGuest(t, 1, all)
	g.card.Enable(0, false)
	g.card.Enable(1, false)
	g.send(1, pattern(60))
	if _, sizes := g.read(1); sizes[0] != 0 {
		t.Error("a packet came from a disabled queue")
	}
	if _, _, ok := g.queues[1].Take(); !ok {
		t.Error("the chain of the dropped packet is not used")
	}
	posted := g.post(0, 1, 1000)
	done := make(chan error)
	go func() { done <- g.card.WritePackets([]link.Packet{{pattern(60)}}) }()
	select {
	case <-done:
		t.Fatal("a packet went to a disabled queue")
	case <-time.After(20 * time.Millisecond):
	}
	g.card.Enable(0, true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.received(0, posted)
}

func TestStoppedQueueContinuesWhereItWas(t *testing.T) {
	g := newGuest(t, 1, all)
	q := g.start(1, all, 0)
	g.send(1, pattern(60))
	g.read(1)
	g.card.Stop(1)
	g.send(1, pattern(70))
	g.card.Notify(1)
	if n := q.Next(); n != 1 {
		t.Fatalf("Next is %d, want 1", n)
	}
	g.start(1, all, q.Next())
	if _, sizes := g.read(1); sizes[0] != 70 {
		t.Errorf("%d bytes", sizes[0])
	}
}

func TestEndReachesBothDirections(t *testing.T) {
	cause := errors.New("cause")
	for _, test := range []struct {
		name string
		end  func(l *Link)
		want error
	}{
		{"Close", func(l *Link) { _ = l.Close() }, io.EOF},
		{"End", func(l *Link) { l.End(nil) }, io.EOF},
		{"End with a cause", func(l *Link) { l.End(cause); _ = l.Close() }, cause},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGuest(t, 1, all)
			errs := make(chan error)
			go func() {
				_, err := g.card.ReadPackets([]link.Packet{{make([]byte, 100)}}, make([]int, 1))
				errs <- err
			}()
			go func() { errs <- g.card.WritePackets([]link.Packet{{pattern(60)}}) }()
			test.end(g.card)
			for range 2 {
				if err := <-errs; err != test.want {
					t.Errorf("%v, not %v", err, test.want)
				}
			}
		})
	}
}

func TestLieEndsTheLinkAndIsNamed(t *testing.T) {
	t.Run("transmitting", func(t *testing.T) {
		g := newGuest(t, 1, all)
		binary.LittleEndian.PutUint16(g.queues[1].Avail[2:], 1000)
		g.card.Notify(1)
		_, err := g.card.ReadPackets([]link.Packet{{nil}}, make([]int, 1))
		if err == nil || !strings.Contains(err.Error(), "the driver lies") {
			t.Error(err)
		}
		if again := g.card.WritePackets([]link.Packet{{pattern(60)}}); again != err {
			t.Errorf("WritePackets: %v", again)
		}
	})
	t.Run("a buffer without room for the header", func(t *testing.T) {
		g := newGuest(t, 1, all)
		g.post(0, 10, 11)
		err := g.card.WritePackets([]link.Packet{{pattern(60)}})
		if err == nil || !strings.Contains(err.Error(), "the driver lies") {
			t.Error(err)
		}
		if _, again := g.card.ReadPackets([]link.Packet{{nil}}, make([]int, 1)); again != err {
			t.Errorf("ReadPackets: %v", again)
		}
	})
}

func TestFlowStaysWithThePairThatTransmitsIt(t *testing.T) {
	g := newGuest(t, 3, all)
	udp := func(src, dst byte, from, to uint16) []byte {
		b := make([]byte, 12+14+28)
		b[12+12] = 8
		b[26], b[38], b[42] = 0x45, src, dst
		binary.BigEndian.PutUint16(b[46:], from)
		binary.BigEndian.PutUint16(b[48:], to)
		return b
	}
	var posted [3][]buffer
	for pair := range 3 {
		posted[pair] = g.post(2*pair, 8, 1000)
		g.send(2*pair+1, udp(1, 2, 100+uint16(pair), 53))
	}
	for n := 0; n < 3; {
		pkts, _ := g.read(2)
		n += len(pkts)
	}
	for pair := range 3 {
		reply := udp(2, 1, 53, 100+uint16(pair))
		if err := g.card.WritePackets([]link.Packet{{reply}}); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := g.queues[2*pair].Take(); !ok {
			t.Errorf("the answer to pair %d came on another pair", pair)
		}
	}
	g.card.Enable(2, false)
	if err := g.card.WritePackets([]link.Packet{{udp(2, 1, 53, 101)}}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := g.queues[0].Take(); !ok {
		t.Error("the flow of a disabled pair did not move to the first pair")
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	g := newGuest(t, 1, all)
	rx, tx := g.queues[0], g.queues[1]
	in, out := g.post(0, 8, 2000), []buffer{g.alloc(12 + 1514)}
	packet := []link.Packet{{pattern(12 + 5000)}}
	pkts, sizes := []link.Packet{{make([]byte, 26), make([]byte, 65535)}}, []int{0}
	step := func() {
		tx.Add(out, nil)
		if tx.Publish() {
			g.card.Notify(1)
		}
		if n, err := g.card.ReadPackets(pkts, sizes); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		tx.Take()
		if err := g.card.WritePackets(packet); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, _, ok := rx.Take(); !ok {
				t.Fatal("a packet is cut off")
			}
			rx.Add(nil, in[:1])
		}
		if rx.Publish() {
			g.card.Notify(0)
		}
	}
	other := newGuest(t, 1, all).queues[0]
	add := testing.AllocsPerRun(100, func() { other.Add(out, nil) })
	if n := testing.AllocsPerRun(100, step); n > 4*add {
		t.Errorf("%v allocations; the driver of the test makes %v of them", n, 4*add)
	}
}
