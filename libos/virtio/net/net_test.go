package net

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/boot"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

const everything = featureCsum | featureGuestCsum | featureMTU | featureMAC | featuresReceive | featuresSend |
	featureMergeable | featureStatus | featureControl | featureQueues

var testMAC = [6]byte{2, 0, 0, 0, 0, 1}

// config returns a struct virtio_net_config.
func config(pairs, mtu uint16) []byte {
	b := append(testMAC[:], statusLinkUp, 0)
	b = binary.LittleEndian.AppendUint16(b, pairs)
	return binary.LittleEndian.AppendUint16(b, mtu)
}

// device makes a device with two queue pairs. The channel receives the frames
// that the driver sends. The device answers commands with status.
func device(features uint64, status byte) (*virtiotest.Device, chan []byte) {
	v := virtiotest.New(virtio.IDNet, features, config(2, 9000), 64, 64, 64, 64, 4)
	sent := make(chan []byte, 1000)
	for _, i := range []int{1, 3} {
		v.Queue(i).Serve(func(c *virtiotest.Chain) int {
			sent <- c.Bytes()
			return 0
		})
	}
	v.Queue(4).Serve(func(c *virtiotest.Chain) int { return c.Fill([]byte{status}) })
	return v, sent
}

func open(t testing.TB, v *virtiotest.Device) *Device {
	t.Helper()
	d, errno := Open(v)
	if errno != 0 {
		t.Fatalf("open: %s", errno.Name())
	}
	t.Cleanup(d.Close)
	return d
}

// received makes the driver receive. The channel gets the frames, each in one
// piece after its header.
func received(d *Device, pair int) chan []byte {
	frames := make(chan []byte, 1000)
	go func() {
		defer close(frames)
		d.Receive(pair, func(h boot.VnetHeader, frame [][]byte) {
			b := make([]byte, boot.VirtioNetHeaderSize)
			h.Put(b)
			frames <- append(b, bytes.Join(frame, nil)...)
		})
	}()
	return frames
}

// message returns a header and a frame of n bytes.
func message(h boot.VnetHeader, n int) []byte {
	b := make([]byte, boot.VirtioNetHeaderSize+n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	h.Put(b)
	return b
}

// deliver sends a message to the driver as a device with mergeable buffers does
// (§5.1.6.4.1). It waits until the driver has provided enough buffers.
func deliver(t testing.TB, q *virtiotest.Queue, msg []byte) {
	t.Helper()
	var chains []*virtiotest.Chain
	for room := 0; room < len(msg); {
		c := pop(t, q)
		chains = append(chains, c)
		room += len(c.In[0])
	}
	h := boot.ParseVnetHeader(msg)
	h.NumBuffers = uint16(len(chains))
	h.Put(msg)
	rest := msg
	for _, c := range chains {
		n := c.Fill(rest)
		rest = rest[n:]
		q.Push(c, n)
	}
}

// pop waits for a buffer from the driver.
func pop(t testing.TB, q *virtiotest.Queue) *virtiotest.Chain {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if c, ok := q.Pop(); ok {
			return c
		}
		if time.Now().After(end) {
			t.Fatal("the driver provided no buffer in 10 seconds")
		}
	}
}

func take(t testing.TB, frames chan []byte) []byte {
	t.Helper()
	select {
	case f := <-frames:
		return f
	case <-time.After(10 * time.Second):
		t.Fatal("no frame arrived in 10 seconds")
		return nil
	}
}

func TestOpenReadsTheConfiguration(t *testing.T) {
	v, _ := device(everything, statusOK)
	d := open(t, v)
	if mac, ok := d.MAC(); !ok || mac != testMAC {
		t.Errorf("address is %x, %v", mac, ok)
	}
	if d.MTU() != 9000 || d.Queues() != 2 || !d.Segments() || !d.Up() {
		t.Errorf("MTU is %d, %d pairs, segments %v, up %v; want 9000, 2, true, true", d.MTU(), d.Queues(), d.Segments(), d.Up())
	}
	v.Change(func(config []byte) { config[configStatus] = 0 })
	for end := time.Now().Add(10 * time.Second); d.Up(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the link is still up after 10 seconds")
		}
	}
}

func TestFeaturesWithUnmetDependenciesAreNotAccepted(t *testing.T) {
	for _, c := range []struct{ without, lost uint64 }{
		{featureMergeable, featuresReceive},
		{featureGuestCsum, featuresReceive},
		{featureControl, featureQueues},
	} {
		v, _ := device(everything&^c.without, statusOK)
		open(t, v)
		if got := v.Accepted(); got&(c.without|c.lost) != 0 || got&^uint64(virtio.FeatureVersion1|virtio.FeatureEventIndex|virtio.FeatureIndirect) != everything&^(c.without|c.lost) {
			t.Errorf("without features %x, the driver accepted %x", c.without, got)
		}
	}
}

func TestIfTheDeviceRefusesMorePairsOneIsUsed(t *testing.T) {
	v, _ := device(everything, 1)
	if d := open(t, v); d.Queues() != 1 {
		t.Errorf("the driver uses %d pairs, want 1", d.Queues())
	}
}

func TestFramesAreSentInOnePieceAfterTheirHeader(t *testing.T) {
	v, sent := device(everything, statusOK)
	d := open(t, v)
	for pair := range 2 {
		for _, size := range []int{14, 60, 1514, 9014, 65535 + 14} {
			h := boot.VnetHeader{Flags: boot.VnetNeedsCsum, GSOType: boot.VnetGSOTCPv4, HdrLen: 54, GSOSize: 1460, CsumStart: 34, CsumOffset: 16}
			want := message(h, size)
			frame := want[boot.VirtioNetHeaderSize:]
			if errno := send(d, pair, h, [][]byte{frame[:14], frame[14:14], frame[14:]}); errno != 0 {
				t.Fatalf("%d bytes: %s", size, errno.Name())
			}
			if got := take(t, sent); !bytes.Equal(got, want) {
				t.Errorf("%d bytes sent by pair %d arrive as %d, or the data differ", size, pair, len(got))
			}
		}
	}
	if errno := send(d, 0, boot.VnetHeader{}, [][]byte{make([]byte, 65536+14)}); errno != linux.EMSGSIZE {
		t.Errorf("sending a frame that is too long: %s, want EMSGSIZE", errno.Name())
	}
}

// The arena wraps around, fills and empties many times with frames of all
// sizes.
func TestSendWaitsForRoomAndKeepsTheOrder(t *testing.T) {
	for _, features := range []uint64{everything, everything &^ featureQueues} {
		v, sent := device(features, statusOK)
		d := open(t, v)
		const frames = 3000
		sizes := make([]int, frames)
		for i := range sizes {
			sizes[i] = 18 + rand.IntN(1<<(4+rand.IntN(12)))
		}
		var waits int
		var all sync.WaitGroup
		all.Go(func() {
			for i, size := range sizes {
				b := make([]byte, size)
				binary.BigEndian.PutUint32(b[14:], uint32(i))
				errno := send(d, 0, boot.VnetHeader{}, [][]byte{b})
				for ; errno == linux.EAGAIN; errno = send(d, 0, boot.VnetHeader{}, [][]byte{b}) {
					waits++
					if errno := d.WaitSend(0); errno != 0 {
						t.Errorf("wait: %s", errno.Name())
						return
					}
				}
				if errno != 0 {
					t.Errorf("send: %s", errno.Name())
					return
				}
			}
		})
		for i, size := range sizes {
			got := take(t, sent)[boot.VirtioNetHeaderSize:]
			if n := binary.BigEndian.Uint32(got[14:]); int(n) != i || len(got) != size {
				t.Fatalf("frame %d with %d bytes arrives as frame %d with %d bytes", i, size, n, len(got))
			}
		}
		all.Wait()
		t.Logf("waited %d times", waits)
	}
}

func TestSendFailsWithoutRoom(t *testing.T) {
	v := virtiotest.New(virtio.IDNet, featureMAC, config(1, 0), 64, 64)
	d := open(t, v)
	sent := 0
	for ; send(d, 0, boot.VnetHeader{}, [][]byte{make([]byte, 60)}) == 0; sent++ {
		if sent > 64 {
			t.Fatal("sent more frames than the queue has entries")
		}
	}
	if sent != 64 {
		t.Errorf("sent %d frames, want 64", sent)
	}
	done := make(chan linux.Errno)
	go func() { done <- d.WaitSend(0) }()
	c := pop(t, v.Queue(1))
	v.Queue(1).Push(c, 0)
	if errno := <-done; errno != 0 {
		t.Errorf("wait: %s", errno.Name())
	}
	if errno := send(d, 0, boot.VnetHeader{}, [][]byte{make([]byte, 60)}); errno != 0 {
		t.Errorf("send after a buffer was used: %s", errno.Name())
	}
}

func TestFramesAreReceivedInOneBufferAndInMany(t *testing.T) {
	v, _ := device(everything, statusOK)
	d := open(t, v)
	for pair := range 2 {
		frames := received(d, pair)
		for round := range 20 { // buffers are reused
			for _, size := range []int{14, 60, 1514, 9014, 65535 + 14} {
				want := message(boot.VnetHeader{Flags: boot.VnetDataValid, GSOType: boot.VnetGSOTCPv4, GSOSize: 1460}, size)
				deliver(t, v.Queue(2*pair), want)
				if got := take(t, frames); !bytes.Equal(got, want) {
					t.Fatalf("round %d: %d bytes arrive as %d, or the data differ", round, len(want), len(got))
				}
			}
		}
	}
}

func TestWithoutMergeableBuffersEachHoldsAFrame(t *testing.T) {
	v, _ := device(everything&^featureMergeable, statusOK)
	d := open(t, v)
	frames := received(d, 0)
	for range 200 {
		want := message(boot.VnetHeader{NumBuffers: 1}, 9014)
		c := pop(t, v.Queue(0))
		v.Queue(0).Push(c, c.Fill(want))
		if got := take(t, frames); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes arrive as %d, or the data differ", len(want), len(got))
		}
	}
}

func TestChecksumFlagsAreIgnoredWithoutTheFeature(t *testing.T) {
	v, _ := device(everything&^featureGuestCsum, statusOK)
	d := open(t, v)
	frames := received(d, 0)
	deliver(t, v.Queue(0), message(boot.VnetHeader{Flags: boot.VnetDataValid}, 60))
	if h := boot.ParseVnetHeader(take(t, frames)); h.Flags != 0 {
		t.Errorf("flags are %d, want 0", h.Flags)
	}
}

// When the device lies, the frame is not delivered, receiving ends and sending
// fails.
func TestLiesBreakTheDevice(t *testing.T) {
	header := func(buffers uint16) []byte {
		return message(boot.VnetHeader{NumBuffers: buffers}, 60)
	}
	for name, lie := range map[string]func(t *testing.T, v *virtiotest.Device){
		"no header":        func(t *testing.T, v *virtiotest.Device) { v.Queue(0).Send(header(1)[:11]) },
		"no buffers":       func(t *testing.T, v *virtiotest.Device) { v.Queue(0).Send(header(0)) },
		"too many buffers": func(t *testing.T, v *virtiotest.Device) { v.Queue(0).Send(header(65535)) },
		"unknown buffer":   func(t *testing.T, v *virtiotest.Device) { v.Queue(0).Lie(1000, 60) },
		"too long":         func(t *testing.T, v *virtiotest.Device) { v.Queue(0).Lie(0, 1<<20) },
		"index ahead":      func(t *testing.T, v *virtiotest.Device) { v.Queue(0).LieIndex(500) },
		"needs a reset":    func(t *testing.T, v *virtiotest.Device) { v.NeedReset() },
		"more than 64 KiB": func(t *testing.T, v *virtiotest.Device) {
			q := v.Queue(0)
			for i := range 40 {
				c := pop(t, q)
				if i == 0 {
					c.Fill(header(40))
				}
				q.Push(c, len(c.In[0]))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := device(everything, statusOK)
			d := open(t, v)
			frames := received(d, 0)
			lie(t, v)
			select {
			case f, ok := <-frames:
				if ok {
					t.Errorf("a lying device's frame of %d bytes was delivered", len(f))
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the lie did not break the device in 10 seconds")
			}
			if errno := send(d, 1, boot.VnetHeader{}, [][]byte{make([]byte, 60)}); errno != linux.EIO {
				t.Errorf("send: %s, want EIO", errno.Name())
			}
			if errno := d.WaitSend(1); errno != linux.EIO {
				t.Errorf("wait: %s, want EIO", errno.Name())
			}
		})
	}
}

func TestSendQueueLiesBreakTheDevice(t *testing.T) {
	v := virtiotest.New(virtio.IDNet, featureMAC, config(1, 0), 64, 64)
	d := open(t, v)
	v.Queue(1).Lie(3, 0)
	if errno := d.WaitSend(0); errno != 0 && errno != linux.EIO {
		t.Errorf("wait: %s", errno.Name())
	}
	if errno := send(d, 0, boot.VnetHeader{}, [][]byte{make([]byte, 60)}); errno != linux.EIO {
		t.Errorf("send: %s, want EIO", errno.Name())
	}
}

func TestOpenRefusesInvalidDevices(t *testing.T) {
	for name, v := range map[string]*virtiotest.Device{
		"group address":       virtiotest.New(virtio.IDNet, everything, append([]byte{1}, config(1, 1500)[1:]...), 64, 64, 4),
		"no pairs":            virtiotest.New(virtio.IDNet, everything, config(0, 1500), 64, 64, 4),
		"an MTU of 67":        virtiotest.New(virtio.IDNet, everything, config(1, 67), 64, 64, 4),
		"short configuration": virtiotest.New(virtio.IDNet, everything, nil, 64, 64, 4),
		"no queues":           virtiotest.New(virtio.IDNet, everything, config(1, 1500)),
		"no control queue":    virtiotest.New(virtio.IDNet, everything, config(2, 1500), 64, 64, 64, 64),
		"short queue":         virtiotest.New(virtio.IDNet, everything, config(1, 1500), 2, 64, 4),
	} {
		if _, errno := Open(v); errno == 0 {
			t.Errorf("%s: Open succeeded", name)
		}
	}
}

func TestTheBudgetFollowsTheMemory(t *testing.T) {
	for _, c := range []struct {
		mem   uint64
		pairs int // wanted pairs
		most  int
	}{
		{0, 1, 512 << 10}, {24 << 20, 4, 768 << 10}, {64 << 20, 2, 2 << 20}, {1 << 30, 1, 5 << 20}, {64 << 30, 64, 32 << 20},
	} {
		b := budgetFor(c.mem, c.pairs)
		if all := b.pairs * (b.receive + b.send); b.pairs < 1 || b.pairs > max(1, c.pairs) || all > c.most || all < c.most*3/4 {
			t.Errorf("%d MiB: budget %+v is %d KiB, want 3/4 to all of %d KiB", c.mem>>20, b, all>>10, c.most>>10)
		}
		if b.send < largest || b.receive < 2*largest {
			t.Errorf("%d MiB: %+v is too little for a large segment", c.mem>>20, b)
		}
	}
}

func TestSendDoesNotAllocate(t *testing.T) {
	v := virtiotest.New(virtio.IDNet, featureMAC, config(1, 0), 256, 256)
	d := open(t, v)
	q := v.Queue(1)
	frame := [][]byte{make([]byte, 14), make([]byte, 1500)}
	if n := testing.AllocsPerRun(100, func() {
		if errno := send(d, 0, boot.VnetHeader{}, frame); errno != 0 {
			t.Error(errno.Name())
		}
	}); n > 0 {
		t.Errorf("%.0f allocations per frame, want none", n)
	}
	q.Pop()
}

// FuzzDevice runs a device that follows the input: honest and lying frames, and
// invalid used buffers, while the driver sends and receives.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{0, 60, 1, 1, 0, 0, 4, 2, 5, 60, 0, 3, 1})
	f.Add([]byte{1, 200, 2, 7, 0, 6, 9, 0, 255, 2})
	platform.Config().Memory = 0 // few buffers
	f.Fuzz(func(t *testing.T, script []byte) {
		defer platform.HostedForgetDMA()
		v := virtiotest.New(virtio.IDNet, everything&^featureQueues, config(1, 1500), 32, 32, 4)
		d, errno := Open(v)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.Receive(0, func(h boot.VnetHeader, frame [][]byte) {
				n := 0
				for _, p := range frame {
					n += len(p)
				}
				if n > 65535+ethernetSize || h.NumBuffers == 0 || len(frame) != int(h.NumBuffers) {
					t.Errorf("delivered an invalid frame of %d bytes in %d pieces, header %+v", n, len(frame), h)
				}
			})
		}()
		rx, tx := v.Queue(0), v.Queue(1)
		var held []*virtiotest.Chain
		for len(script) >= 3 {
			op, a, b := script[0], script[1], script[2]
			script = script[3:]
			switch op % 8 {
			case 0:
				rx.Send(message(boot.VnetHeader{NumBuffers: 1}, int(a)*8))
			case 1:
				rx.Send(message(boot.VnetHeader{NumBuffers: uint16(a), Flags: b}, int(b)))
			case 2:
				if c, ok := rx.Pop(); ok {
					rx.Push(c, int(a)<<4|int(b))
				}
			case 3:
				rx.Lie(uint32(a), uint32(b)<<6)
			case 4:
				tx.Lie(uint32(a)%40, uint32(b))
			case 5:
				send(d, 0, boot.VnetHeader{}, [][]byte{make([]byte, int(a)<<8|int(b))})
			case 6:
				if c, ok := tx.Pop(); ok {
					held = append(held, c)
				}
				if len(held) > 0 && a&1 == 0 {
					i := int(b) % len(held) // out of order
					tx.Push(held[i], 0)
					held = append(held[:i], held[i+1:]...)
				}
			case 7:
				tx.LieIndex(uint16(a))
			}
		}
		d.Close()
		<-done
	})
}

func init() { platform.Config().CPUs = 2 }

// send sends a frame, and notifies the device if needed.
func send(d *Device, pair int, h boot.VnetHeader, frame [][]byte) linux.Errno {
	errno := d.Send(pair, h, frame)
	if d.ShouldNotify(pair) {
		d.Notify(pair)
	}
	return errno
}
