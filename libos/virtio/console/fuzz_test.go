package console

import (
	"bytes"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// FuzzDevice runs a device that follows the input, three bytes at a time:
// invalid control messages, input of any length, lies about rings. Every call
// of the driver must return once the device is broken, and must not panic.
func FuzzDevice(f *testing.F) {
	f.Add(uint8(3), []byte("\x00\x01\x00\x01\x07\x00\x02\x01\x05\x03\x00\x09\x04\x02\x80"))
	f.Add(uint8(2), []byte("\x00\x00\x01\x00\x00\x06\x00\x00\x02\x01\x02\x03\x05\x01\x01"))
	f.Add(uint8(0), []byte("\x02\x00\x05\x01\x00\x00"))
	f.Fuzz(func(t *testing.T, features uint8, script []byte) {
		defer platform.HostedForgetDMA()
		dev := virtiotest.New(virtio.IDConsole, uint64(features), []byte{80, 0, 25, 0, features, 0, 0, 0}, 4, 4, 4, 4, 4, 4, 4, 4)
		c, errno := Open(dev)
		if errno != 0 {
			return
		}
		defer c.dev.Shutdown()
		if errno := c.Start(1); errno != 0 {
			t.Fatal(errno.Name())
		}
		var calls []chan bool
		call := func(fn func()) {
			done := make(chan bool)
			calls = append(calls, done)
			go func() { defer close(done); fn() }()
		}
		for _, p := range c.ports {
			call(func() { p.Read(make([]byte, 10)) })
			call(func() { p.Write(make([]byte, 3)) })
			call(func() { c.Size(p) })
		}
		for ; len(script) >= 3; script = script[3:] {
			q := dev.Queue(int(script[1]) % 8)
			switch script[0] % 6 {
			case 0: // a control message
				if dev.Queue(queueControlIn).Enabled() {
					dev.Queue(queueControlIn).Send([]byte{script[1] % 5, 0, 0, 0, script[2] % 9, 0, script[2] >> 7, 0, 'n', 'a', 'm', 'e'}[:min(12, 1+script[2]/2)])
				}
			case 1:
				q.Send(bytes.Repeat([]byte{'x'}, int(script[2])))
			case 2:
				if c, ok := q.Pop(); ok {
					q.Push(c, int(script[2]))
				}
			case 3:
				q.Lie(uint32(script[2]), uint32(script[2])<<8)
			case 4:
				q.LieIndex(uint16(script[2]))
			case 5:
				dev.Change(func(config []byte) { config[script[1]%8] = script[2] })
			}
		}
		dev.NeedReset()
		c.dev.Shutdown()
		for _, done := range calls {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("a call did not return in 10 seconds on a broken device")
			}
		}
	})
}
