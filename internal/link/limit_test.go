package link

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pith-os/pith/libos/boot"
)

// endless is a link that always has packets and room for more. Its frames have size
// bytes each. It counts what passes.
type endless struct {
	size     int
	read     int // packets
	written  int
	next     byte // number of the next packet that is written
	disorder bool
	done     chan struct{}
	plain    bool
}

func (e *endless) ReadPackets(pkts []Packet, sizes []int) (int, error) {
	for i := range pkts {
		pkts[i][0][0] = byte(e.read)
		sizes[i] = boot.VirtioNetHeaderSize + e.size
		e.read++
	}
	return len(pkts), nil
}

func (e *endless) WritePackets(pkts []Packet) error {
	for _, p := range pkts {
		e.disorder = e.disorder || p[0][0] != e.next
		e.next++
		e.written++
	}
	return nil
}

func (e *endless) Close() error          { return nil }
func (e *endless) Done() <-chan struct{} { return e.done }
func (e *endless) Offload() bool         { return !e.plain }

// run reads from and writes to a link until it ends or d has passed. It returns the
// bytes of frames that passed in each direction.
func run(l Link, size int, d time.Duration) (in, out int) {
	ended := make(chan struct{}, 2)
	end := time.Now().Add(d)
	go func() {
		pkts, sizes := make([]Packet, Batch), make([]int, Batch)
		for i := range pkts {
			pkts[i] = Packet{make([]byte, 1)}
		}
		next := byte(0)
		for {
			n, err := l.ReadPackets(pkts, sizes)
			if err != nil || time.Now().After(end) {
				break
			}
			for i, s := range sizes[:n] {
				in += s - boot.VirtioNetHeaderSize
				if pkts[i][0][0] != next {
					panic("a packet is lost")
				}
				next++
			}
		}
		ended <- struct{}{}
	}()
	go func() {
		pkts := make([]Packet, Batch)
		b := make([]byte, boot.VirtioNetHeaderSize+size)
		next := byte(0)
		for {
			for i := range pkts {
				pkts[i] = Packet{{next}, b[1:]}
				next++
			}
			if l.WritePackets(pkts) != nil || time.Now().After(end) {
				break
			}
			out += len(pkts) * size
		}
		ended <- struct{}{}
	}()
	<-ended
	<-ended
	return in, out
}

func TestLimitIsKeptAndUsed(t *testing.T) {
	for _, rate := range []int{50_000, 1_000_000, 100_000_000} {
		for _, size := range []int{60, 1514, 9000, maxFrame} {
			synctest.Test(t, func(t *testing.T) {
				e := &endless{size: size}
				seconds := 3 + 40_000_000/rate // many packets in any case
				in, out := run(newLimited(e, uint64(rate)), size, time.Duration(seconds)*time.Second)
				// A batch that begins within the time may end after it.
				burst, slack := max(rate/10, maxFrame), 2*Batch*size
				for way, n := range map[string]int{"from": in, "to": out} {
					if n > rate*seconds+burst || n < rate*seconds+burst-slack {
						t.Errorf("%d bytes a second, frames of %d: %d bytes %s the guest in %d s, %.4f of the limit",
							rate, size, n, way, seconds, float64(n)/float64(rate*seconds))
					}
				}
				if e.disorder {
					t.Errorf("%d bytes a second, frames of %d: packets are lost or reordered", rate, size)
				}
			})
		}
	}
}

func TestLimitSavesATenthOfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, size = 10_000_000, 1000
		l := newLimited(&endless{size: size}, rate)
		time.Sleep(time.Hour)
		begin := time.Now()
		pkt := []Packet{{make([]byte, boot.VirtioNetHeaderSize+size)}}
		for range rate / 10 / size {
			if err := l.WritePackets(pkt); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("a burst takes %v, want no time", d)
		}
		if err := l.WritePackets(pkt); err != nil {
			t.Fatal(err)
		}
		if d, want := time.Since(begin), time.Second*size/rate; d < want || d > 2*want {
			t.Errorf("the packet after the burst takes %v, want %v", d, want)
		}
	})
}

func TestLimitEndsWithItsLink(t *testing.T) {
	for _, how := range []string{"it is closed", "its guest is gone"} {
		synctest.Test(t, func(t *testing.T) {
			e := &endless{size: maxFrame, done: make(chan struct{})}
			l := newLimited(e, 1) // a packet takes most of a day
			begin := time.Now()
			ended := make(chan struct{})
			go func() {
				run(l, maxFrame, 1<<62)
				close(ended)
			}()
			synctest.Wait()
			select {
			case <-ended:
				t.Fatal("the link ends early")
			default:
			}
			if how == "it is closed" {
				for range 2 {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				}
			} else {
				close(e.done)
			}
			<-ended
			if d := time.Since(begin); d != 0 {
				t.Errorf("%s: the link ends after %v, want at once", how, d)
			}
			if _, err := l.ReadPackets([]Packet{{make([]byte, 1)}}, make([]int, 1)); err != io.EOF {
				t.Errorf("%s: ReadPackets: %v", how, err)
			}
		})
	}
}

// fake is a network that notes what it is asked for.
type fake struct {
	tap    *os.File
	served Link
	port   uint16
}

func (f *fake) Serve(_ context.Context, l Link) error {
	f.served = l
	return io.ErrUnexpectedEOF
}
func (f *fake) Accept(_ net.Listener, port uint16) { f.port = port }
func (f *fake) Tap() (*os.File, bool)              { return f.tap, f.tap != nil }

func TestLimitKeepsWhatTheLinkIs(t *testing.T) {
	n := &fake{}
	if l := Limit(n, 0); l != Network(n) {
		t.Error("without a limit the network is another")
	}
	for _, plain := range []bool{true, false} {
		e := &endless{plain: plain, done: make(chan struct{})}
		if err := Limit(n, 1).Serve(t.Context(), e); err != io.ErrUnexpectedEOF {
			t.Errorf("Serve returns %v, not the network's error", err)
		}
		if n.served == Link(e) {
			t.Error("with a limit the network serves the link itself")
		}
		if n.served.Offload() == plain {
			t.Errorf("offload of a link without: %v", plain)
		}
		if n.served.Done() != (<-chan struct{})(e.done) {
			t.Error("Done returns another channel")
		}
	}
}

// The limit works in Serve, which a kernel that has the tap interface bypasses.
func TestLimitKeepsPortsAndHidesTheTapInterface(t *testing.T) {
	n := &fake{tap: os.Stdin}
	if f, ok := Limit(n, 0).Tap(); f != os.Stdin || !ok {
		t.Errorf("without a limit, Tap returns %v, %t", f, ok)
	}
	l := Limit(n, 1)
	if f, ok := l.Tap(); f != nil || ok {
		t.Errorf("with a limit, Tap returns %v, %t", f, ok)
	}
	if l.Accept(nil, 80); n.port != 80 {
		t.Errorf("Accept reaches port %d of the network", n.port)
	}
}

func TestLimitAllocatesNothing(t *testing.T) {
	for _, rate := range []uint64{1 << 40, 4 << 20} { // the latter waits
		l := newLimited(&endless{size: 60}, rate)
		in, sizes := make([]Packet, Batch), make([]int, Batch)
		var out []Packet
		for i := range in {
			in[i] = Packet{make([]byte, 1)}
			out = append(out, Packet{make([]byte, 500), make([]byte, 1012)})
		}
		for range 30 { // the burst
			if err := l.WritePackets(out); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(50, func() {
			if _, err := l.ReadPackets(in, sizes); err != nil {
				t.Error(err)
			}
			if err := l.WritePackets(out); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%.0f allocations at %d bytes a second", n, rate)
		}
	}
}
