package block

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
)

// FuzzDevice runs a disk whose configuration and replies come from the input:
// any status, any length, lies about rings. Every call must return, at the
// latest when the device is broken, and must not claim more than was done.
func FuzzDevice(f *testing.F) {
	config := make([]byte, 60)
	binary.LittleEndian.PutUint64(config, 64)
	f.Add(uint32(0), config, []byte{0, 0, 1, 2, 0, 3, 0, 1, 3})
	binary.LittleEndian.PutUint32(config[8:], 512)
	binary.LittleEndian.PutUint32(config[12:], 3)
	binary.LittleEndian.PutUint32(config[20:], 1024)
	config[34] = 2
	f.Add(uint32(features), config, []byte{0, 0, 0, 0, 0, 0, 1, 2, 3, 200, 2, 2, 4, 7})
	f.Fuzz(func(t *testing.T, offered uint32, config, script []byte) {
		defer platform.HostedForgetDMA()
		dev := virtiotest.New(virtio.IDBlock, uint64(offered)&features, config, 16, 8, 4, 2)
		d, errno := Open(dev)
		if errno != 0 {
			return
		}
		defer d.dev.Shutdown()
		done := make(chan bool)
		calls := []func(p []byte) (int, linux.Errno){
			func(p []byte) (int, linux.Errno) { return d.ReadAt(p, 300) },
			func(p []byte) (int, linux.Errno) { return d.WriteAt(p, 100) },
			func(p []byte) (int, linux.Errno) { return d.ReadAt(p, d.Size()-100) },
			func([]byte) (int, linux.Errno) { return 0, d.Flush() },
			func([]byte) (int, linux.Errno) { return 0, d.Discard(0, int64(d.blockSize)) },
			func([]byte) (int, linux.Errno) { return 0, d.WriteZeroes(0, int64(d.blockSize), true) },
		}
		for _, call := range calls {
			go func() {
				if n, errno := call(make([]byte, 5000)); n < 0 || n > 5000 {
					t.Errorf("a call with 5000 bytes returned %d, %s", n, errno.Name())
				}
				done <- true
			}()
		}
		for ; len(script) >= 2; script = script[2:] {
			q := dev.Queue(int(script[0]>>4) % 4)
			switch v := script[1]; script[0] % 5 {
			case 0, 1: // the right length, any status
				if c, ok := q.Pop(); ok {
					total := 0
					for _, b := range c.In {
						total += len(b)
					}
					// There may be no buffer: the misled driver may be just writing the chain.
					if n := len(c.In); n > 0 && len(c.In[n-1]) > 0 {
						c.In[n-1][len(c.In[n-1])-1] = v % 4
					}
					q.Push(c, total)
				}
			case 2:
				if c, ok := q.Pop(); ok {
					q.Push(c, int(v))
				}
			case 3:
				q.Lie(uint32(v), uint32(v)<<4)
			case 4:
				dev.Change(func(config []byte) {
					if len(config) > 0 {
						config[int(v)%len(config)] = script[0]
					}
				})
			}
		}
		dev.NeedReset()
		d.dev.Shutdown()
		for range calls {
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("a call did not return in 10 seconds on a broken device")
			}
		}
	})
}
