package console

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// machine is a console device that behaves as QEMU's.
type machine struct {
	t   testing.TB
	dev *virtiotest.Device

	mu      sync.Mutex
	ports   []machinePort
	opened  map[uint32]bool
	refused map[uint32]bool
}

type machinePort struct {
	id      uint32
	name    string // empty: a console
	closed  bool
	written bytes.Buffer
}

func newMachine(t testing.TB, features uint64, max uint32, ports ...machinePort) *machine {
	config := binary.LittleEndian.AppendUint32([]byte{100, 0, 40, 0}, max)
	sizes := make([]int, 2*max+2)
	for i := range sizes {
		sizes[i] = 128
	}
	m := &machine{t: t, dev: virtiotest.New(virtio.IDConsole, features, config, sizes...), ports: ports,
		opened: map[uint32]bool{}, refused: map[uint32]bool{}}
	m.dev.Queue(queueControlOut).Serve(m.control)
	for i := range ports {
		p := &m.ports[i]
		m.dev.Queue(outOf(p.id)).Serve(func(c *virtiotest.Chain) int {
			m.mu.Lock()
			defer m.mu.Unlock()
			p.written.Write(c.Bytes())
			return 0
		})
	}
	return m
}

func outOf(id uint32) int {
	if id == 0 {
		return queueOut
	}
	return int(3 + 2*id)
}

func inOf(id uint32) int { return outOf(id) - 1 }

func (m *machine) control(c *virtiotest.Chain) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := c.Bytes()
	id, event, value := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]), binary.LittleEndian.Uint16(b[6:])
	switch event {
	case eventDeviceReady:
		for _, p := range m.ports {
			m.say(p.id, eventPortAdd, 1, nil)
		}
	case eventPortReady:
		m.refused[id] = value == 0
		for _, p := range m.ports {
			if p.id != id || value == 0 {
				continue
			}
			if p.name == "" {
				m.say(id, eventConsolePort, 1, nil)
			} else {
				m.say(id, eventPortName, 1, []byte(p.name+"\x00"))
			}
			if !p.closed {
				m.say(id, eventPortOpen, 1, nil)
			}
		}
	case eventPortOpen:
		m.opened[id] = value == 1
	}
	return 0
}

func (m *machine) say(id uint32, event, value uint16, more []byte) {
	b := binary.LittleEndian.AppendUint32(nil, id)
	b = binary.LittleEndian.AppendUint16(b, event)
	b = binary.LittleEndian.AppendUint16(b, value)
	if !m.dev.Queue(queueControlIn).Send(append(b, more...)) {
		m.t.Errorf("no buffer for control message %d", event)
	}
}

func (m *machine) text(id uint32) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.ports {
		if m.ports[i].id == id {
			return m.ports[i].written.String()
		}
	}
	return ""
}

func (m *machine) has(set map[uint32]bool, id uint32) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return set[id]
}

// send sends what comes in on a port, when somebody reads it.
func (m *machine) send(id uint32, text string) {
	m.t.Helper()
	eventually(m.t, "a buffer for input", func() bool { return m.dev.Queue(inOf(id)).Send([]byte(text)) })
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (m *machine) start() *Console {
	m.t.Helper()
	c, errno := Open(m.dev)
	if errno != 0 {
		m.t.Fatal(errno.Name())
	}
	if errno := c.Start(10e9); errno != 0 {
		m.t.Fatal(errno.Name())
	}
	m.t.Cleanup(c.dev.Shutdown)
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

func TestOnePortIsAllWithoutMultiport(t *testing.T) {
	m := newMachine(t, featureSize, 1, machinePort{id: 0})
	c := m.start()
	p := c.Terminal()
	if n, errno := p.Write([]byte("hello")); n != 5 || errno != 0 || m.text(0) != "hello" {
		t.Errorf("write: %d, %s; %q came", n, errno.Name(), m.text(0))
	}
	go m.send(0, "typed")
	if got := read(t, p, 3) + read(t, p, 10); got != "typed" {
		t.Errorf("read %q", got)
	}
	if c.Port("") == nil || c.Port("x") != nil {
		t.Error("ports")
	}
	if cols, rows := c.Size(p); cols != 100 || rows != 40 {
		t.Errorf("window of %d by %d", cols, rows)
	}
}

func TestPortsAreFoundByName(t *testing.T) {
	m := newMachine(t, featureMultiport, 31, machinePort{id: 0}, machinePort{id: 1, name: "one"},
		machinePort{id: 4, name: "four"}, machinePort{id: 5, name: "shut", closed: true}, machinePort{id: 30, name: "far"})
	c := m.start()
	for id, p := range map[uint32]*Port{0: c.Terminal(), 1: c.Port("one"), 4: c.Port("four")} {
		want := fmt.Sprint("text ", id)
		if n, errno := p.Write([]byte(want)); n != len(want) || errno != 0 {
			t.Errorf("port %d: %d, %s", id, n, errno.Name())
		}
		if got := m.text(id); got != want {
			t.Errorf("port %d has %q", id, got)
		}
	}
	if c.Port("far") != nil || c.Port("other") != nil {
		t.Error("a port that is not there was found")
	}
	for id, want := range map[uint32]bool{0: true, 1: true, 4: true, 5: false} {
		// What is not used is not said to be open, now or later.
		eventually(t, fmt.Sprintf("port %d open: %t", id, want), func() bool { return m.has(m.opened, id) == want })
	}
	if !m.has(m.refused, 30) || m.has(m.refused, 4) {
		t.Errorf("refused: %v", m.refused)
	}
}

func TestClosingAPortIsTheEndOfItsInputAfterWhatCame(t *testing.T) {
	m := newMachine(t, featureMultiport, 2, machinePort{id: 1, name: "in"})
	p := m.start().Port("in")
	done := make(chan string)
	go func() {
		text, err := io.ReadAll(reader{p})
		done <- fmt.Sprint(string(text), err)
	}()
	m.send(1, "last words")
	m.say(1, eventPortOpen, 0, nil)
	if got := <-done; got != "last words<nil>" {
		t.Errorf("read %q", got)
	}
	if _, errno := p.Write([]byte("x")); errno != linux.EPIPE {
		t.Errorf("write to a closed port: %s", errno.Name())
	}
	m.say(1, eventPortOpen, 1, nil)
	m.send(1, "again")
	if got := read(t, p, 10); got != "again" {
		t.Errorf("after it was opened again: %q", got)
	}
	m.say(1, eventPortRemove, 1, nil)
	eventually(t, "EIO from a port that is gone", func() bool {
		_, errno := p.Read(make([]byte, 1))
		return errno == linux.EIO
	})
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

func TestWritesAreWholeAndAreTakenWhenTheyReturn(t *testing.T) {
	m := newMachine(t, featureMultiport, 2, machinePort{id: 0}, machinePort{id: 1, name: "err"})
	c := m.start()
	out := c.Terminal()
	const writers, each = 8, 20
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			line := strings.Repeat(string('a'+rune(w)), 3*pieceSize/2) + "\n"
			for range each {
				if n, errno := out.Write([]byte(line)); n != len(line) || errno != 0 {
					t.Errorf("%d, %s", n, errno.Name())
				}
			}
		})
	}
	all.Wait()
	count := map[byte]int{}
	for line := range strings.Lines(m.text(0)) {
		if len(line) != 3*pieceSize/2+1 || strings.Trim(line, line[:1]) != "\n" {
			t.Fatalf("a line is torn")
		}
		count[line[0]]++
	}
	for w := range writers {
		if n := count['a'+byte(w)]; n != each {
			t.Errorf("writer %d: %d lines", w, n)
		}
	}
}

func TestAWindowThatChangesIsTold(t *testing.T) {
	for _, features := range []uint64{featureSize, featureMultiport} {
		m := newMachine(t, features, 1, machinePort{id: 0})
		c, errno := Open(m.dev)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		resized := make(chan bool, 4)
		c.Resized = func() { resized <- true }
		if errno := c.Start(10e9); errno != 0 {
			t.Fatal(errno.Name())
		}
		if features == featureMultiport {
			m.say(0, eventResize, 0, []byte{90, 0, 50, 0})
		} else {
			m.dev.Change(func(config []byte) { config[0], config[2] = 90, 50 })
		}
		<-resized
		if cols, rows := c.Size(c.Terminal()); cols != 90 || rows != 50 {
			t.Errorf("features %d: %d by %d", features, cols, rows)
		}
		c.dev.Shutdown()
	}
}

func TestNothingIsTakenThatNobodyReads(t *testing.T) {
	m := newMachine(t, featureMultiport, 1, machinePort{id: 0})
	p := m.start().Terminal()
	p.Write([]byte("x"))
	if m.dev.Queue(queueIn).Send([]byte("early")) {
		t.Error("the device could give input before a read")
	}
}

func TestABrokenDeviceIsAnErrorAndNoHang(t *testing.T) {
	m := newMachine(t, featureMultiport, 2, machinePort{id: 0}, machinePort{id: 1, name: "dead"})
	c := m.start()
	done := make(chan linux.Errno, 2)
	go func() {
		_, errno := c.Terminal().Read(make([]byte, 1))
		done <- errno
	}()
	eventually(t, "a reader", func() bool { return m.has(m.opened, 0) })
	m.dev.Queue(queueControlIn).Lie(200, 0)
	if errno := <-done; errno != linux.EIO {
		t.Errorf("read: %s", errno.Name())
	}
	if _, errno := c.Port("dead").Write([]byte("x")); errno != linux.EIO {
		t.Errorf("write: %s", errno.Name())
	}
}

func TestADeviceThatSaysNothingDelaysTheStartNoLongerThanAsked(t *testing.T) {
	c, errno := Open(newMachine(t, featureMultiport, 4).dev)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer c.dev.Shutdown()
	if errno := c.Start(1e6); errno != 0 {
		t.Fatal(errno.Name())
	}
	if c.Terminal() != nil {
		t.Error("a port")
	}
}
