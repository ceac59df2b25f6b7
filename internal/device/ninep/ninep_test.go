package ninep

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/pith-os/pith/internal/device"
	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/ninep"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/vfs"
	client "github.com/pith-os/pith/libos/vfs/ninep"
	driver "github.com/pith-os/pith/libos/virtio/ninep"

	"golang.org/x/sys/unix"
)

// sockets returns a connected pair of sockets, one for the device and one for
// the server.
func sockets(t testing.TB) (dev *os.File, server int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dev = os.NewFile(uintptr(pair[0]), "device")
	t.Cleanup(func() { dev.Close() })
	return dev, pair[1]
}

// serve serves the directory dir, with messages of at most n bytes.
func serve(t testing.TB, dir string, fd, n int) {
	t.Helper()
	s, err := ninep.New([]ninep.Folder{{Path: dir}}, n)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(fd) }()
	t.Cleanup(func() {
		unix.Shutdown(fd, unix.SHUT_RDWR)
		if err := <-done; err != nil {
			t.Error(err)
		}
		s.Close()
		unix.Close(fd)
	})
}

func mount(t testing.TB, d *Device) *driver.Device {
	t.Helper()
	x := devicetest.Attach(t, d)
	v, errno := driver.Open(x)
	if errno == 0 {
		errno = v.Start()
	}
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	return v
}

func TestConcurrentReadsAndWrites(t *testing.T) {
	for _, n := range []int{4096, MaxMessage, 2 * MaxMessage} {
		t.Run(strconv.Itoa(n), func(t *testing.T) { readAndWrite(t, n) })
	}
}

// readAndWrite uses a server whose messages are at most size bytes long.
func readAndWrite(t *testing.T, size int) {
	dir := t.TempDir()
	mem := devicetest.Memory(t, 8<<20)
	dev, fd := sockets(t)
	serve(t, dir, fd, size)
	v := mount(t, New(mem, "share", dev))
	if v.Tag() != "share" {
		t.Errorf("tag %q", v.Tag())
	}
	fs, errno := client.New(v, false)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	var done sync.WaitGroup
	for n := range 12 {
		done.Go(func() {
			name := fmt.Sprint("file", n)
			data := make([]byte, 300_000+n)
			rand.NewChaCha8([32]byte{byte(n)}).Read(data)
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Error(err)
				return
			}
			top := vfs.NewDentry(nil, "/", fs.Root())
			entry, errno := fs.Root().(vfs.Dir).Lookup(top, name)
			if errno != 0 {
				t.Error(errno.Name())
				return
			}
			opened, errno := entry.Inode().Open(entry, linux.O_RDWR)
			if errno != 0 {
				t.Error(errno.Name())
				return
			}
			f := opened.(interface {
				Pread([]byte, int64) (int, linux.Errno)
				Pwrite([]byte, int64) (int, linux.Errno)
				Release()
			})
			defer f.Release()
			for off := 0; off < len(data); {
				k, errno := f.Pwrite(data[off:], int64(off))
				if errno != 0 || k == 0 {
					t.Errorf("write at %d: %d, %s", off, k, errno.Name())
					return
				}
				off += k
			}
			got := make([]byte, len(data))
			for off := 0; off < len(got); {
				k, errno := f.Pread(got[off:], int64(off))
				if errno != 0 || k == 0 {
					t.Errorf("read at %d: %d, %s", off, k, errno.Name())
					return
				}
				off += k
			}
			if !bytes.Equal(got, data) {
				t.Error("the read returned other data than the write stored")
			}
		})
	}
	done.Wait()
}

// message returns a request or reply of n bytes in total.
func message(tag uint16, n int) []byte {
	b := make([]byte, n)
	binary.LittleEndian.PutUint32(b, uint32(n))
	b[4] = 1
	binary.LittleEndian.PutUint16(b[5:], tag)
	return b
}

const buffers = devicetest.Buffers

// begin starts a device. The test controls its driver and its server.
func begin(t testing.TB, features uint64) (r *devicetest.Raw, server int) {
	t.Helper()
	socket, server := sockets(t)
	_, r = devicetest.Begin(t, features, func(mem *virtqueue.Memory) *Device { return New(mem, "tag", socket) })
	t.Cleanup(func() { unix.Close(server) }) // before Stop, which waits for replies
	return r, server
}

func TestRepliesMatchRequestsByTag(t *testing.T) {
	for _, features := range []uint64{0, device.FeatureEventIdx} {
		r, server := begin(t, features)
		const n = 5
		addr := func(tag int) uint32 { return buffers + uint32(tag)*0x1000 }
		for tag := range n {
			r.Send(0, addr(tag), message(uint16(tag), 20+tag), 100)
		}
		got := make([]byte, 1000)
		for tag := range n {
			k, err := unix.Read(server, got)
			if err != nil || !bytes.Equal(got[:k], message(uint16(tag), 20+tag)) {
				t.Fatalf("request % x, %v", got[:max(k, 0)], err)
			}
		}
		for i := range n {
			tag := n - 1 - i
			reply := message(uint16(tag), 50+tag)
			copy(reply[10:], "reply")
			for _, m := range [][]byte{message(999, 30), {1, 2}, reply, reply} { // the first two and the last match no request
				if err := unix.Send(server, m, 0); err != nil {
					t.Fatal(err)
				}
			}
			if k := r.Take(t, 0); k != uint32(len(reply)) || !bytes.Equal(r.Bytes(addr(tag)+20+uint32(tag), k), reply) {
				t.Errorf("reply of %d bytes to the request with tag %d", k, tag)
			}
		}
	}
}

func TestRequestsWithoutAValidReplyFail(t *testing.T) {
	for _, test := range []struct {
		name    string
		request []byte
		reply   []byte // nil: the request does not reach the server
	}{
		{"a request without a head", []byte{6, 0, 0, 0, 1, 0}, nil},
		{"a request of another size", append(message(1, 20), 0), nil},
		{"a request too large for the socket", message(1, 0xe_0000), nil},
		{"a reply longer than its buffer", message(1, 20), message(1, 101)},
		{"a reply longer than MaxMessage", message(1, 20), message(1, MaxMessage+1)},
		{"a reply of another size", message(1, 20), append(message(1, 20), 0)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, server := begin(t, 0)
			r.Send(0, buffers, test.request, 100)
			if test.reply != nil {
				if _, err := unix.Read(server, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				if err := unix.Send(server, test.reply, 0); err != nil {
					t.Fatal(err)
				}
			}
			if n := r.Take(t, 0); n != 0 {
				t.Errorf("a reply of %d bytes", n)
			}
			// The next request works.
			r.Send(0, buffers, message(1, 20), 100)
			if _, err := unix.Read(server, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
			if err := unix.Send(server, message(1, 100), 0); err != nil {
				t.Fatal(err)
			}
			if n := r.Take(t, 0); n != 100 {
				t.Errorf("a reply of %d bytes", n)
			}
		})
	}
}

// TestServerThatEndsCausesIOErrors ends the server while a request is in
// flight. Then it sends another request.
func TestServerThatEndsCausesIOErrors(t *testing.T) {
	for _, how := range []int{unix.SHUT_WR, unix.SHUT_RDWR} {
		mem := devicetest.Memory(t, 8<<20)
		dev, server := sockets(t)
		v := mount(t, New(mem, "share", dev))
		done := make(chan linux.Errno)
		connect := func() {
			_, errno := client.New(v, false)
			done <- errno
		}
		go connect()
		if _, err := unix.Read(server, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := unix.Shutdown(server, how); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if errno := <-done; errno != linux.EIO {
				t.Errorf("error %s, want EIO", errno.Name())
			}
			go connect()
		}
		<-done
		unix.Close(server)
	}
}

func TestStopWaitsForReplies(t *testing.T) {
	r, server := begin(t, 0)
	r.Send(0, buffers, message(1, 20), 100)
	if _, err := unix.Read(server, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		r.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
		t.Error("Stop returned before the reply")
	default:
	}
	if err := unix.Send(server, message(1, 30), 0); err != nil {
		t.Fatal(err)
	}
	<-stopped
}

func TestDataPathDoesNotAllocate(t *testing.T) {
	r, server := begin(t, 0)
	request, reply := make([]byte, 1000), message(1, 100)
	r.Send(0, buffers, message(1, 20), 100)
	exchange := func() {
		unix.Read(server, request)
		unix.Write(server, reply)
		r.Used(0)
	}
	exchange()
	if n := testing.AllocsPerRun(100, func() {
		r.Again(0)
		exchange()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLyingDriver lets the fuzzer write to the queue while a server answers
// each request.
func FuzzLyingDriver(f *testing.F) {
	f.Add([]byte("\x02\x00\x10\x40\x03\x00\x00\x00"))
	f.Add([]byte("\x04\x05\x14\x40\x04\x05\x14\x40\x03\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, script []byte) {
		r, server := begin(t, device.FeatureIndirect)
		var serving sync.WaitGroup
		serving.Go(func() {
			buf := make([]byte, 1<<16)
			for {
				n, err := unix.Read(server, buf)
				if n <= 0 || err != nil {
					return
				}
				unix.Send(server, buf[:n], unix.MSG_NOSIGNAL)
			}
		})
		for ; len(script) >= 4; script = script[4:] {
			op, a, b, v := script[0], script[1], script[2], script[3]
			if op&4 != 0 {
				r.Send(0, buffers+uint32(a)*64, message(uint16(b%4), 7+int(b)), uint32(v))
				continue
			}
			r.Lie(op/8, a, b, v)
		}
		unix.Shutdown(server, unix.SHUT_RDWR)
		serving.Wait()
	})
}
