package vsock

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/virtiotest"
	"github.com/pith-os/pith/libos/vsock"
	"github.com/pith-os/pith/libos/wait"
)

const guestCID, hostCID = 5, 2

func newDevice() *virtiotest.Device {
	return virtiotest.New(virtio.IDSocket, featureStream, []byte{guestCID, 0, 0, 0, 0, 0, 0, 0}, 16, 16, 4)
}

// host is the other side of a device: a network whose link is the device's
// queues.
type host struct {
	*vsock.Network
	device *virtiotest.Device
	mu     sync.Mutex
	late   [][]byte // packets for which the driver had no buffer yet
}

func newHost(v *virtiotest.Device) *host {
	h := &host{device: v}
	h.Network = vsock.NewNetwork(h)
	v.Queue(queueTransmit).Serve(func(c *virtiotest.Chain) int {
		p := c.Bytes()
		head := vsock.ParseHeader(p)
		h.Receive(&head, p[vsock.HeaderSize:][:head.Len])
		return 0
	})
	// The driver notifies the queue when it has added receive buffers.
	v.Queue(queueReceive).OnNotify(h.flush)
	return h
}

func (h *host) CID() uint32  { return hostCID }
func (h *host) MaxData() int { return 5000 }

func (h *host) Send(head *vsock.Header, fill func(p []byte)) bool {
	p := make([]byte, vsock.HeaderSize+int(head.Len))
	head.Put(p)
	if head.Len > 0 {
		fill(p[vsock.HeaderSize:])
	}
	h.mu.Lock()
	h.late = append(h.late, p)
	h.mu.Unlock()
	h.flush()
	return true
}

func (h *host) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.late) > 0 && h.device.Queue(queueReceive).Send(h.late[0]) {
		h.late = h.late[1:]
	}
}

// block calls do until it does not return EAGAIN.
func block(s socket.Socket, do func() linux.Errno) linux.Errno {
	var w platform.Waiter
	e := wait.Entry{Notify: func(wait.Events) { w.Wake() }}
	s.Watch().Register(&e, wait.In|wait.Out|wait.RdHup)
	defer s.Watch().Unregister(&e)
	timer := time.AfterFunc(20*time.Second, func() { panic("the socket did not become ready in 20 seconds") })
	defer timer.Stop()
	for {
		if errno := do(); errno != linux.EAGAIN {
			return errno
		}
		w.Wait()
	}
}

func address(cid, port uint32) []byte {
	sa := make([]byte, linux.SockaddrVMSize)
	socket.Put(sa, linux.SockaddrVM{Family: linux.AF_VSOCK, Port: port, CID: cid})
	return sa
}

// connection makes a connection from a to b.
func connection(t *testing.T, a, b *vsock.Network, cid uint32) (client, server socket.Socket) {
	t.Helper()
	l, _ := b.New(linux.SOCK_STREAM, 0)
	defer l.Release()
	if errno := l.Bind(address(linux.VMADDR_CID_ANY, 77)); errno != 0 {
		t.Fatal(errno.Name())
	}
	l.Listen(1)
	client, _ = a.New(linux.SOCK_STREAM, 0)
	if errno := client.Connect(address(cid, 77)); errno != linux.EINPROGRESS {
		t.Fatal(errno.Name())
	}
	errno := block(l, func() (errno linux.Errno) { server, errno = l.Accept(); return errno })
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	errno = block(client, func() linux.Errno {
		if client.Ready()&wait.Out == 0 {
			return linux.EAGAIN
		}
		return 0
	})
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	return client, server
}

func TestStreamsOverADevice(t *testing.T) {
	v := newDevice()
	h := newHost(v)
	d, errno := Open(v)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.dev.Shutdown)
	out, outEnd := connection(t, d.Network, h.Network, hostCID)
	in, inEnd := connection(t, h.Network, d.Network, guestCID)
	var done sync.WaitGroup
	for i, c := range []struct{ from, to socket.Socket }{{out, outEnd}, {outEnd, out}, {in, inEnd}, {inEnd, in}} {
		data := make([]byte, 2<<20+i)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		done.Go(func() {
			for p := data; len(p) > 0; {
				errno := block(c.from, func() linux.Errno {
					n, errno := c.from.Write(p)
					p = p[n:]
					return errno
				})
				if errno != 0 {
					t.Error(errno.Name())
					return
				}
			}
			c.from.Shutdown(linux.SHUT_WR)
		})
		done.Go(func() {
			var got []byte
			p := make([]byte, 70_000)
			for {
				n := 0
				errno := block(c.to, func() (errno linux.Errno) { n, errno = c.to.Read(p); return errno })
				if errno != 0 {
					t.Error(errno.Name())
				}
				if n == 0 {
					break
				}
				got = append(got, p[:n]...)
			}
			if !bytes.Equal(got, data) {
				t.Errorf("stream %d: received %d of %d bytes, or the data differ", i, len(got), len(data))
			}
		})
	}
	done.Wait()
}

func TestAResetOfTheDeviceEndsConnections(t *testing.T) {
	v := newDevice()
	h := newHost(v)
	d, errno := Open(v)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(d.dev.Shutdown)
	c, _ := connection(t, d.Network, h.Network, hostCID)
	v.Change(func(config []byte) { config[0] = 9 })
	for !v.Queue(queueEvent).Send([]byte{0, 0, 0, 0}) {
	}
	errno = block(c, func() linux.Errno { _, errno := c.Read(make([]byte, 1)); return errno })
	if errno != linux.ECONNRESET || d.CID() != 9 {
		t.Errorf("read: %s, want ECONNRESET; CID is %d, want 9", errno.Name(), d.CID())
	}
}

func TestABrokenDeviceEndsConnections(t *testing.T) {
	for name, fail := range map[string]func(v *virtiotest.Device){
		"lies":         func(v *virtiotest.Device) { v.Queue(queueReceive).Lie(999, 1) },
		"fails":        func(v *virtiotest.Device) { v.NeedReset() },
		"short packet": func(v *virtiotest.Device) { v.Queue(queueReceive).Send(make([]byte, 10)) },
		"wrong length": func(v *virtiotest.Device) { v.Queue(queueReceive).Send(bytes.Repeat([]byte{0xff}, vsock.HeaderSize)) },
	} {
		v := newDevice()
		h := newHost(v)
		d, errno := Open(v)
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		c, _ := connection(t, d.Network, h.Network, hostCID)
		fail(v)
		errno = block(c, func() linux.Errno { _, errno := c.Read(make([]byte, 1)); return errno })
		if errno != linux.ECONNRESET {
			t.Errorf("%s: read returned %s, want ECONNRESET", name, errno.Name())
		}
		d.dev.Shutdown()
	}
}

func TestASocketNeedsADevice(t *testing.T) {
	Register()
	if _, errno := socket.New(linux.AF_VSOCK, linux.SOCK_STREAM, 0); errno != linux.EAFNOSUPPORT {
		t.Error(errno.Name())
	}
}

func TestCIDByIoctl(t *testing.T) {
	f := &cidFile{transport: newDevice()}
	cid := new(uint32)
	if _, errno := f.Ioctl(linux.IOCTL_VM_SOCKETS_GET_LOCAL_CID, uintptr(unsafe.Pointer(cid))); errno != 0 || *cid != guestCID {
		t.Errorf("ioctl returned CID %d: %s", *cid, errno.Name())
	}
	if _, errno := f.Ioctl(1, uintptr(unsafe.Pointer(cid))); errno != linux.ENOTTY {
		t.Error(errno.Name())
	}
}

// FuzzLyingDevice runs a device that sends packets, events and used elements as
// the script says, while a program connects, writes and reads.
func FuzzLyingDevice(f *testing.F) {
	f.Add([]byte("\x00\x02\x05aaaa\x01\x03\x07\x09"))
	f.Fuzz(func(t *testing.T, script []byte) {
		defer platform.HostedForgetDMA()
		v := newDevice()
		v.Queue(queueTransmit).OnNotify(func() {})
		d, errno := Open(v)
		if errno != 0 {
			return
		}
		defer d.dev.Shutdown()
		s, _ := d.New(linux.SOCK_STREAM, 0)
		s.Bind(address(linux.VMADDR_CID_ANY, 9))
		s.Connect(address(hostCID, 1))
		l, _ := d.New(linux.SOCK_STREAM, 0)
		l.Bind(address(linux.VMADDR_CID_ANY, 7))
		l.Listen(1)
		for steps := min(len(script), 2000) / 4; steps > 0; steps, script = steps-1, script[4:] {
			a, b, c := script[1], script[2], script[3]
			q := v.Queue(int(a) % 3)
			switch script[0] % 8 {
			case 0:
				q.Lie(uint32(b), uint32(c)<<8)
			case 1:
				q.LieIndex(uint16(b))
			case 2:
				if c, ok := q.Pop(); ok {
					q.Push(c, int(b))
				}
			case 3:
				s.Write(make([]byte, 50_000))
			case 4:
				s.Read(make([]byte, 1000))
				l.Accept()
			default:
				h := vsock.Header{
					SrcCID: hostCID, SrcPort: 1, DstCID: guestCID, DstPort: 7 + uint32(a&2),
					Len: uint32(b), Type: 1, Op: uint16(c % 8), BufAlloc: uint32(b) << 12, FwdCnt: uint32(a),
				}
				p := make([]byte, vsock.HeaderSize+int(b))
				h.Put(p)
				v.Queue(queueReceive).Send(p[:len(p)-int(a>>7)])
			}
		}
		s.Release()
		l.Release()
	})
}
