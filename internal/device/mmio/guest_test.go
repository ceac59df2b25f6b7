package mmio_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/device/mmio"
	"github.com/pith-os/pith/internal/event"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
)

// Tests of this transport with the drivers of the library OS.

// wires replaces KVM: each event sends its interrupt message.
type wires struct {
	mu     sync.Mutex
	routes map[*event.Event]route
}

func (w *wires) Route(call *event.Event, addr uint64, data uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.routes[call]; !ok {
		go func() {
			for call.Wait() {
				w.mu.Lock()
				r := w.routes[call]
				w.mu.Unlock()
				platform.HostedMessage(r.addr, r.data)
			}
		}()
	}
	w.routes[call] = route{call, addr, data}
	return nil
}

// registers gives the guest access to the transport. Without a transport it
// reads zeros.
type registers struct{ t *mmio.Transport }

func (r registers) Read(off, width int) uint32 {
	var p [4]byte
	if r.t != nil {
		r.t.Read(uint64(off), p[:width])
	}
	return binary.LittleEndian.Uint32(p[:])
}

func (r registers) Write(off, width int, v uint32) {
	var p [4]byte
	binary.LittleEndian.PutUint32(p[:], v)
	r.t.Write(uint64(off), p[:width])
}

// newLibos returns the library OS's transport to an echo device, and the
// device.
func newLibos(t *testing.T) (virtio.Transport, *echo) {
	t.Helper()
	ram := newRAM(t)
	dev := newEcho(t, ram)
	transport, err := mmio.New(dev, &wires{routes: map[*event.Event]route{}}, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.Close)
	next := platform.PageSize
	platform.HostedDMA = func(n int) ([]byte, uint64, linux.Errno) {
		at := next
		if next += (n + platform.PageSize - 1) &^ (platform.PageSize - 1); next > len(ram) {
			return nil, 0, linux.ENOMEM
		}
		return ram[at : at+n : at+n], uint64(at), 0
	}
	t.Cleanup(func() {
		platform.HostedDMA = nil
		platform.HostedForgetDMA()
	})
	found := virtio.HostedMicrovm(func(addr uint64, size int) (virtio.HostedRegisters, linux.Errno) {
		if addr == 0xfeb00000 {
			return registers{transport}, 0
		}
		return registers{}, 0
	})
	if len(found) != 1 {
		t.Fatalf("found %d devices", len(found))
	}
	return found[0], dev
}

func TestLibosDriver(t *testing.T) {
	transport, dev := newLibos(t)
	if queues, config := transport.OwnInterrupts(); !queues || !config {
		t.Error("queues or configuration have no interrupt of their own")
	}
	for round := range 3 {
		d, errno := virtio.Open(transport, 1<<5|1<<6)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		if !d.Has(1<<5|virtio.FeatureEventIndex|virtio.FeatureIndirect) || d.Has(1<<6) {
			t.Error("the negotiated features are wrong")
		}
		var queues []*virtio.Queue
		for i, size := range dev.Queues() {
			q, errno := d.NewQueue(i, 64)
			if errno != 0 || q.Size() != size {
				t.Fatal(errno.Name())
			}
			queues = append(queues, q)
		}
		if _, errno := d.NewQueue(2, 64); errno != linux.ENODEV {
			t.Error("NewQueue(2) found a queue that the device does not have")
		}
		changed := make(chan [8]byte, 1)
		d.OnConfig(func() {
			var p [8]byte
			d.Config(0, p[:])
			changed <- p
		})
		if errno := d.Start(); errno != 0 {
			t.Fatal(errno.Name())
		}
		for n := range 8 {
			want := [8]byte{byte(round), byte(n)}
			dev.SetConfig(0, want[:])
			dev.bus.ConfigChanged()
			if got := <-changed; got != want {
				t.Errorf("the configuration is %v, want %v", got, want)
			}
		}
		d.SetConfig(2, []byte{7, 8})
		if c := dev.Config(); c[2] != 7 || c[3] != 8 {
			t.Errorf("the configuration after a write of the driver: %v", c)
		}

		mem, errno := virtio.Alloc(256)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		for n := range 100 {
			for i, q := range queues {
				text := fmt.Sprintf("message %d on %d", n, i)
				copy(mem.Mem, text)
				if !q.Add([]virtio.Buffer{mem.Slice(0, len(text))}, []virtio.Buffer{mem.Slice(128, 192), mem.Slice(192, 256)}, n) {
					t.Fatal("full")
				}
				q.Kick()
				if !q.Wait() {
					t.Fatal("broken")
				}
				if token, k, ok := q.Take(); !ok || token != n || string(mem.Mem[128:128+k]) != text {
					t.Fatalf("%d, %d bytes, %t", token, k, ok)
				}
			}
		}
		if round == 1 { // the device fails on its own
			dev.bus.Fail(errors.New("the disk is gone"))
			for _, q := range queues {
				if q.Wait() {
					t.Error("Wait reports a used buffer after the device failed")
				}
			}
		}
		d.Shutdown()
		if s := transport.Status(); s != 0 {
			t.Errorf("status %#x", s)
		}
	}
}

func TestLibosDriverWithADeviceThatCannotStart(t *testing.T) {
	transport, dev := newLibos(t)
	dev.startErr = errors.New("no such thing")
	d, errno := virtio.Open(transport, 0)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	q, errno := d.NewQueue(0, 8)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := d.Start(); errno != 0 {
		t.Fatal(errno.Name())
	}
	if q.Wait() {
		t.Error("Wait reports a used buffer of a device that is not started")
	}
	d.Shutdown()
}
