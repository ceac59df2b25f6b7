package virtio_test

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// open opens and starts a device with one queue.
func open(t testing.TB, dev *virtiotest.Device, max int) (*virtio.Device, *virtio.Queue) {
	t.Helper()
	d, errno := virtio.Open(dev, 0)
	if errno != 0 {
		t.Fatalf("Open: %v", errno.Name())
	}
	q, errno := d.NewQueue(0, max)
	if errno != 0 {
		t.Fatalf("NewQueue: %v", errno.Name())
	}
	if errno := d.Start(); errno != 0 {
		t.Fatalf("Start: %v", errno.Name())
	}
	t.Cleanup(d.Shutdown)
	return d, q
}

func alloc(t testing.TB, n int) virtio.Buffer {
	t.Helper()
	b, errno := virtio.Alloc(n)
	if errno != 0 {
		t.Fatalf("Alloc: %v", errno.Name())
	}
	return b
}

func buffers(b ...virtio.Buffer) []virtio.Buffer { return b }

// kinds are sets of features under which a queue must behave the same.
var kinds = []struct {
	name    string
	without uint64
}{
	{"event index", 0},
	{"flags", virtio.FeatureEventIndex},
	{"event index, direct", virtio.FeatureIndirect},
	{"flags, direct", virtio.FeatureEventIndex | virtio.FeatureIndirect},
}

func TestChainsReachTheDeviceAndComeBack(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			dev := virtiotest.New(1, 0, nil, 16).Without(kind.without)
			_, q := open(t, dev, 256)
			if q.Size() != 16 || q.Free() != 16 {
				t.Fatalf("size %d, free %d", q.Size(), q.Free())
			}
			dev.Queue(0).Serve(func(c *virtiotest.Chain) int {
				return c.Fill(bytes.ToUpper(c.Bytes()))
			})
			mem := alloc(t, 4096)
			for round := range 100 {
				text := strings.Repeat("abcdefgh", 1+round%12)
				n := copy(mem.Mem, text)
				cut := n / 3
				in := mem.Slice(2048, 4096)
				clear(in.Mem)
				if !q.Add(buffers(mem.Slice(0, cut), mem.Slice(cut, cut), mem.Slice(cut, n)),
					buffers(in.Slice(0, 5), in.Slice(5, 64), in.Slice(64, 128)), round) {
					t.Fatal("Add failed: the queue is full")
				}
				q.Kick()
				if !q.Wait() {
					t.Fatal("Wait: broken")
				}
				token, got, ok := q.Take()
				if !ok || token != round || got != n || string(in.Mem[:got]) != strings.ToUpper(text) {
					t.Fatalf("round %d: Take returned token %d, %d bytes %q, %v", round, token, got, in.Mem[:got], ok)
				}
			}
			if q.Free() != 16 {
				t.Errorf("%d of 16 descriptors are free", q.Free())
			}
		})
	}
}

func TestAFullQueueRefusesUntilThereIsRoom(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			dev := virtiotest.New(1, 0, nil, 8).Without(kind.without)
			_, q := open(t, dev, 256)
			mem := alloc(t, 4096)
			n := 0
			for q.Add(buffers(mem.Slice(n, n+1)), nil, n) {
				n++
			}
			if n != 8 || q.Free() != 0 {
				t.Fatalf("added %d chains, %d descriptors are free; want 8, 0", n, q.Free())
			}
			// The device uses the chains out of order, as a block device does.
			var chains []*virtiotest.Chain
			for c, ok := dev.Queue(0).Pop(); ok; c, ok = dev.Queue(0).Pop() {
				chains = append(chains, c)
			}
			for i := range chains {
				dev.Queue(0).Push(chains[len(chains)-1-i], 0)
			}
			for i := range 8 {
				if token, _, ok := q.Take(); !ok || token != 7-i {
					t.Fatalf("Take returned token %d, %v", token, ok)
				}
			}
			if _, _, ok := q.Take(); ok || q.Broken() || q.Free() != 8 {
				t.Error("the queue is not empty again")
			}
		})
	}
}

func TestConcurrentAddersAndOneWaiterLoseNothing(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			dev := virtiotest.New(1, 0, nil, 8).Without(kind.without)
			_, q := open(t, dev, 8)
			dev.Queue(0).Serve(func(c *virtiotest.Chain) int { return 0 })
			mem := alloc(t, 64)
			const adders, each = 4, 3000
			var mu sync.Mutex
			room := sync.NewCond(&mu)
			for range adders {
				go func() {
					for range each {
						mu.Lock()
						for !q.Add(buffers(mem), nil, 1) {
							room.Wait()
						}
						q.Kick()
						mu.Unlock()
					}
				}()
			}
			for taken := 0; taken < adders*each; {
				if !q.Wait() {
					t.Fatal("Wait: the queue is broken")
				}
				mu.Lock()
				for {
					if _, _, ok := q.Take(); !ok {
						break
					}
					taken++
				}
				room.Broadcast()
				mu.Unlock()
			}
		})
	}
}

func TestAChainOfAFewBuffersTakesOneDescriptor(t *testing.T) {
	dev := virtiotest.New(1, 0, nil, 64)
	_, q := open(t, dev, 64)
	mem := alloc(t, 4096)
	var out, in []virtio.Buffer
	for i := range 8 {
		out = append(out, mem.Slice(i, i+1))
		in = append(in, mem.Slice(64*(i+1), 64*(i+1)+1))
	}
	copy(mem.Mem, "abcdefgh")
	for i := range 64 {
		if !q.Add(out, in, i) {
			t.Fatalf("Add failed after %d chains", i)
		}
	}
	if q.Add(out[:1], nil, 0) {
		t.Error("Add succeeded on a full queue")
	}
	for range 64 {
		c, ok := dev.Queue(0).Pop()
		if !ok || string(c.Bytes()) != "abcdefgh" || len(c.In) != 8 {
			t.Fatalf("the device sees %q and %d writable buffers, %v", c.Bytes(), len(c.In), ok)
		}
		dev.Queue(0).Push(c, 8)
		if _, n, ok := q.Take(); !ok || n != 8 {
			t.Fatalf("Take returned %d bytes, %v", n, ok)
		}
	}
	// A chain that is too long for a table takes descriptors of the queue, if
	// there is room.
	if long := append(slices.Clone(out), append(in, in...)...); !q.Add(long, nil, 0) || q.Free() != 64-len(long) {
		t.Errorf("adding a long chain failed, or %d descriptors are free", q.Free())
	}
}

func TestALieBreaksTheQueue(t *testing.T) {
	for _, c := range []struct {
		name string
		lie  func(q *virtiotest.Queue, c *virtiotest.Chain)
		want string
	}{
		{"an id beyond the queue", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.Lie(8, 0) }, "it used buffer 8"},
		{"a huge id", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.Lie(c.ID|1<<16, 0) }, "it used buffer 65536"},
		{"an id it does not have", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.Lie(c.ID+5, 0) }, "it used buffer 5"},
		{"the middle of a chain", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.Lie(c.ID+1, 0) }, "it used buffer 1"},
		{"more than there is room for", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.Lie(c.ID, 65) }, "it wrote 65 bytes"},
		{"more buffers than a queue", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.LieIndex(9) }, "it used 9 buffers"},
		{"an index that went back", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.LieIndex(0xffff) }, "it used 65535 buffers"},
		{"needs reset", func(q *virtiotest.Queue, c *virtiotest.Chain) { q.Device().NeedReset() }, "it has failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines := virtio.CaptureReports(t)
			dev := virtiotest.New(1, 0, []byte{0}, 8)
			d, errno := virtio.Open(dev, 0)
			if errno != 0 {
				t.Fatal(errno.Name())
			}
			q, _ := d.NewQueue(0, 8)
			d.Start()
			mem := alloc(t, 128)
			q.Add(buffers(mem.Slice(0, 64)), buffers(mem.Slice(64, 128)), 7)
			chain, _ := dev.Queue(0).Pop()
			c.lie(dev.Queue(0), chain)
			for q.Wait() {
				if _, _, ok := q.Take(); ok {
					t.Fatal("Take believed the lie")
				}
			}
			if line := <-lines; !strings.Contains(line, c.want) || !strings.HasPrefix(line, "pith: device test (virtio 1) is broken: ") {
				t.Errorf("reported %q", line)
			}
			if !q.Broken() || q.Add(buffers(mem), nil, 1) {
				t.Error("the queue is still usable")
			}
		})
	}
}

func TestTheSameBufferUsedTwiceIsALie(t *testing.T) {
	virtio.CaptureReports(t)
	dev := virtiotest.New(1, 0, nil, 8)
	_, q := open(t, dev, 8)
	mem := alloc(t, 64)
	q.Add(buffers(mem), nil, 3)
	q.Add(buffers(mem), nil, 4)
	c, _ := dev.Queue(0).Pop()
	dev.Queue(0).Lie(c.ID, 0)
	dev.Queue(0).Lie(c.ID, 0)
	if token, _, ok := q.Take(); !ok || token != 3 {
		t.Fatalf("Take returned token %d, %v", token, ok)
	}
	if _, _, ok := q.Take(); ok || !q.Broken() {
		t.Error("Take returned a buffer twice")
	}
}

func TestALengthForAReadOnlyChainIsIgnored(t *testing.T) {
	dev := virtiotest.New(1, 0, nil, 8)
	_, q := open(t, dev, 8)
	q.Add(buffers(alloc(t, 64)), nil, 3)
	c, _ := dev.Queue(0).Pop()
	dev.Queue(0).Lie(c.ID, 64)
	if token, n, ok := q.Take(); !ok || token != 3 || n != 0 {
		t.Errorf("Take returned token %d, %d bytes, %v", token, n, ok)
	}
}

func TestShutdownEndsWait(t *testing.T) {
	lines := virtio.CaptureReports(t)
	d, q := open(t, virtiotest.New(1, 0, nil, 8), 8)
	done := make(chan bool)
	go func() { done <- q.Wait() }()
	d.Shutdown()
	if <-done {
		t.Error("Wait returned true after Shutdown")
	}
	select {
	case line := <-lines:
		t.Errorf("reported %q", line)
	default:
	}
}

func TestOpenNeedsAModernDeviceWithItsQueues(t *testing.T) {
	if _, errno := virtio.Open(virtiotest.New(1, 0, nil).Without(virtio.FeatureVersion1), 0); errno != linux.ENODEV {
		t.Errorf("Open of a legacy device: %v, want ENODEV", errno.Name())
	}
	d, errno := virtio.Open(virtiotest.New(1, 1<<5|1<<7, nil, 1, 2, 12), 1<<5|1<<6)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if !d.Has(1<<5) || d.Has(1<<6) || d.Has(1<<7) || d.Has(1<<5|1<<6) {
		t.Error("the accepted features are not those both wanted and offered")
	}
	for i, want := range []linux.Errno{linux.ENODEV, 0, 0, linux.ENODEV} {
		if _, errno := d.NewQueue(i, 64); errno != want {
			t.Errorf("NewQueue(%d): %v, want %v", i, errno.Name(), want.Name())
		}
	}
	if q, _ := d.NewQueue(2, 64); q.Size() != 8 {
		t.Errorf("the queue has size %d with a device's maximum of 12, want 8", q.Size())
	}
	if q, _ := d.NewQueue(2, 4); q.Size() != 4 {
		t.Errorf("the queue has size %d, want 4", q.Size())
	}
}

func TestAConfigurationChangeIsReported(t *testing.T) {
	dev := virtiotest.New(1, 0, []byte{1, 2, 3, 4}, 8)
	d, _ := virtio.Open(dev, 0)
	got := make(chan byte, 1)
	d.OnConfig(func() {
		var p [1]byte
		d.Config(2, p[:])
		got <- p[0]
	})
	if errno := d.Start(); errno != 0 {
		t.Fatal(errno.Name())
	}
	dev.Change(func(config []byte) { config[2] = 99 })
	if v := <-got; v != 99 {
		t.Errorf("the changed byte reads as %d, want 99", v)
	}
	if d.Config(3, make([]byte, 2)) || !d.Config(3, make([]byte, 1)) {
		t.Error("Config does not end at the configuration's end")
	}
	d.Shutdown()
}

func TestASteadyQueueAllocatesNothing(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			dev := virtiotest.New(1, 0, nil, 8).Without(kind.without)
			_, q := open(t, dev, 8)
			mem := alloc(t, 64)
			out, in := buffers(mem.Slice(0, 8), mem.Slice(8, 16)), buffers(mem.Slice(16, 64))
			device := dev.Queue(0)
			device.OnNotify(func() {})
			answer := testing.AllocsPerRun(1, func() { // the test device's own allocations
				q.Add(out, in, 1)
				c, _ := device.Pop()
				device.Push(c, 1)
				q.Take()
			})
			if n := testing.AllocsPerRun(100, func() {
				q.Add(out, in, 1)
				q.Kick()
				c, _ := device.Pop()
				device.Push(c, 1)
				q.Wait()
				q.Take()
			}); n > answer {
				t.Errorf("%v allocations, but the test device alone makes %v", n, answer)
			}
		})
	}
}
