package console

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio/console/consoletest"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

func start(t *testing.T, d *consoletest.Device) *Console {
	t.Helper()
	c, errno := Open(d)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := c.Start(10e9); errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(c.dev.Shutdown)
	return c
}

func read(t *testing.T, p *Port, n int) string {
	t.Helper()
	b := make([]byte, n)
	got, errno := p.Read(b)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	return string(b[:got])
}

func TestWithoutMultiportThereIsOnePort(t *testing.T) {
	m := consoletest.New(t, featureSize, 1, consoletest.Port{ID: 0})
	c := start(t, m)
	p := c.Terminal()
	if n, errno := p.Write([]byte("hello")); n != 5 || errno != 0 || m.Text(0) != "hello" {
		t.Errorf("write returned %d, %s; the device received %q", n, errno.Name(), m.Text(0))
	}
	go m.Type(0, "typed")
	if got := read(t, p, 3) + read(t, p, 10); got != "typed" {
		t.Errorf("read %q", got)
	}
	if c.Port("") == nil || c.Port("x") != nil {
		t.Error("the device without multiport does not have exactly one unnamed port")
	}
	if cols, rows := c.Size(p); cols != 100 || rows != 40 {
		t.Errorf("the window has %d by %d characters, want 100 by 40", cols, rows)
	}
}

func TestPortsAreFoundByName(t *testing.T) {
	m := consoletest.New(t, featureMultiport, 31, consoletest.Port{ID: 0}, consoletest.Port{ID: 1, Name: "one"},
		consoletest.Port{ID: 4, Name: "four"}, consoletest.Port{ID: 5, Name: "shut", Closed: true}, consoletest.Port{ID: 30, Name: "far"})
	c := start(t, m)
	for id, p := range map[uint32]*Port{0: c.Terminal(), 1: c.Port("one"), 4: c.Port("four")} {
		want := fmt.Sprint("text ", id)
		if n, errno := p.Write([]byte(want)); n != len(want) || errno != 0 {
			t.Errorf("writing to port %d returned %d, %s", id, n, errno.Name())
		}
		if got := m.Text(id); got != want {
			t.Errorf("port %d received %q", id, got)
		}
	}
	if c.Port("far") != nil || c.Port("other") != nil {
		t.Error("found a port that does not exist")
	}
	for id, want := range map[uint32]bool{0: true, 1: true, 4: true, 5: false} {
		// A closed port must not be reported as open, now or later.
		consoletest.Eventually(t, fmt.Sprintf("port %d open: %t", id, want), func() bool { return m.Opened(id) == want })
	}
	if !m.Refused(30) || m.Refused(4) {
		t.Error("the driver does not refuse exactly port 30")
	}
}

func TestClosingAPortEndsItsInputAfterTheData(t *testing.T) {
	m := consoletest.New(t, featureMultiport, 2, consoletest.Port{ID: 1, Name: "in"})
	p := start(t, m).Port("in")
	done := make(chan string)
	go func() {
		text, err := io.ReadAll(reader{p})
		done <- fmt.Sprint(string(text), err)
	}()
	m.Type(1, "last words")
	m.SendControl(1, eventPortOpen, 0, nil)
	if got := <-done; got != "last words<nil>" {
		t.Errorf("read %q", got)
	}
	if _, errno := p.Write([]byte("x")); errno != linux.EPIPE {
		t.Errorf("write to a closed port: %s, want EPIPE", errno.Name())
	}
	m.SendControl(1, eventPortOpen, 1, nil)
	consoletest.Eventually(t, "an open port", func() bool { return p.writable() == 0 })
	go m.Type(1, "again")
	if got := read(t, p, 10); got != "again" {
		t.Errorf("after the port was reopened, read returned %q", got)
	}
	m.SendControl(1, eventPortRemove, 1, nil)
	consoletest.Eventually(t, "EIO from a removed port", func() bool {
		_, errno := p.Read(make([]byte, 1))
		return errno == linux.EIO
	})
}

// TestAWriteEndsWhenThePortIsClosed simulates QEMU: it never returns buffers
// that it had not consumed when the port was closed.
func TestAWriteEndsWhenThePortIsClosed(t *testing.T) {
	m := consoletest.New(t, consoletest.Multiport, 2, consoletest.Port{ID: 1, Name: "out", Full: true})
	p := start(t, m).Port("out")
	q := m.Queue(consoletest.OutOf(1))
	write := func(text string) <-chan string {
		done := make(chan string)
		go func() {
			n, errno := p.Write([]byte(text))
			done <- fmt.Sprint(n, errno.Name())
		}()
		return done
	}
	var taken *virtiotest.Chain
	take := func() {
		consoletest.Eventually(t, "a write", func() (ok bool) { taken, ok = q.Pop(); return ok })
	}
	first := write("kept")
	take()
	kept := taken
	m.SendControl(1, consoletest.PortOpen, 0, nil)
	if got := <-first; got != "0"+linux.EPIPE.Name() {
		t.Errorf("write: %s", got)
	}
	m.SendControl(1, consoletest.PortOpen, 1, nil)
	consoletest.Eventually(t, "an open port", func() bool { return p.writable() == 0 })
	second := write("taken")
	take()
	if got := string(taken.Bytes()); got != "taken" || string(kept.Bytes()) != "kept" {
		t.Errorf("the device has %q and %q, want kept and taken", kept.Bytes(), got)
	}
	q.Push(kept, 0) // too late
	q.Push(taken, 0)
	if got := <-second; got != "5" {
		t.Errorf("write: %s", got)
	}
}

type reader struct{ p *Port }

func (r reader) Read(b []byte) (int, error) {
	n, errno := r.p.Read(b)
	if n == 0 && errno == 0 {
		return 0, io.EOF
	}
	if errno != 0 {
		return n, fmt.Errorf("%s", errno.Name())
	}
	return n, nil
}

func TestWritesAreAtomicAndCompleteWhenTheyReturn(t *testing.T) {
	m := consoletest.New(t, featureMultiport, 2, consoletest.Port{ID: 0}, consoletest.Port{ID: 1, Name: "err"})
	c := start(t, m)
	out := c.Terminal()
	const writers, each = 8, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			line := strings.Repeat(string('a'+rune(w)), 3*pieceSize/2) + "\n"
			for range each {
				if n, errno := out.Write([]byte(line)); n != len(line) || errno != 0 {
					t.Errorf("write returned %d, %s", n, errno.Name())
				}
			}
		})
	}
	all.Wait()
	count := map[byte]int{}
	for line := range strings.Lines(m.Text(0)) {
		if len(line) != 3*pieceSize/2+1 || strings.Trim(line, line[:1]) != "\n" {
			t.Fatal("a line is mixed with another")
		}
		count[line[0]]++
	}
	for w := range writers {
		if n := count['a'+byte(w)]; n != each {
			t.Errorf("writer %d: received %d lines", w, n)
		}
	}
}

func TestAWindowChangeIsReported(t *testing.T) {
	for _, features := range []uint64{featureSize, featureMultiport} {
		m := consoletest.New(t, features, 1, consoletest.Port{ID: 0})
		c, errno := Open(m)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		resized := make(chan bool, 4)
		c.Resized = func() { resized <- true }
		if errno := c.Start(10e9); errno != 0 {
			t.Fatal(errno.Name())
		}
		if features == featureMultiport {
			m.SendControl(0, eventResize, 0, []byte{90, 0, 50, 0})
		} else {
			m.Change(func(config []byte) { config[0], config[2] = 90, 50 })
		}
		<-resized
		if cols, rows := c.Size(c.Terminal()); cols != 90 || rows != 50 {
			t.Errorf("features %d: the window has %d by %d characters, want 90 by 50", features, cols, rows)
		}
		c.dev.Shutdown()
	}
}

func TestNoInputIsTakenWithoutAReader(t *testing.T) {
	m := consoletest.New(t, featureMultiport, 1, consoletest.Port{ID: 0})
	p := start(t, m).Terminal()
	p.Write([]byte("x"))
	if m.Queue(queueIn).Send([]byte("early")) {
		t.Error("the device could give input before a read")
	}
}

func TestABrokenDeviceIsAnErrorAndNoHang(t *testing.T) {
	m := consoletest.New(t, featureMultiport, 2, consoletest.Port{ID: 0}, consoletest.Port{ID: 1, Name: "dead"})
	c := start(t, m)
	done := make(chan linux.Errno, 2)
	go func() {
		_, errno := c.Terminal().Read(make([]byte, 1))
		done <- errno
	}()
	consoletest.Eventually(t, "a reader", func() bool { return m.Opened(0) })
	m.Queue(queueControlIn).Lie(200, 0)
	if errno := <-done; errno != linux.EIO {
		t.Errorf("read from a broken device: %s, want EIO", errno.Name())
	}
	consoletest.Eventually(t, "EIO from a write", func() bool {
		_, errno := c.Port("dead").Write([]byte("x"))
		return errno == linux.EIO
	})
}

func TestStartWaitsForASilentDeviceUntilTheTimeout(t *testing.T) {
	c, errno := Open(consoletest.New(t, featureMultiport, 4))
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer c.dev.Shutdown()
	if errno := c.Start(1e6); errno != 0 {
		t.Fatal(errno.Name())
	}
	if c.Terminal() != nil {
		t.Error("a silent device has a terminal")
	}
}
