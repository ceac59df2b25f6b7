package vhostuser_test

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device/net/vhostuser"
	"github.com/pith-os/pith/internal/virtqueue"
	lin "github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/qemutest"
	virtiovsock "github.com/pith-os/pith/libos/virtio/vsock"
	"github.com/pith-os/pith/libos/vsock"
	"github.com/pith-os/pith/libos/wait"
)

const vsockGuest, vsockHost = 42, 2

// vsockDevice is the back end of a socket device (virtio 1.2 §5.10). It connects the
// guest to the sockets of a vsock.Network, which stands for the host. QEMU itself
// has the event queue.
type vsockDevice struct {
	*vsock.Network
	t         *testing.T
	mu        sync.Mutex
	queues    [2]*virtqueue.Queue // receive and transmit queue of the guest
	interrupt [2]func()
	late      [][]byte // packets that wait for a buffer of the guest
	kicks     chan bool
}

func newVsockDevice(t *testing.T) *vsockDevice {
	d := &vsockDevice{t: t, kicks: make(chan bool, 1)}
	d.Network = vsock.NewNetwork(d)
	done := make(chan bool)
	go func() {
		defer close(done)
		for range d.kicks {
			d.work()
		}
	}()
	t.Cleanup(func() {
		close(d.kicks)
		<-done
	})
	return d
}

func (d *vsockDevice) Features() uint64 { return 1<<32 | 1<<29 | 1<<28 }
func (d *vsockDevice) Queues() int      { return 2 }
func (d *vsockDevice) Config() []byte   { return []byte{vsockGuest, 0, 0, 0, 0, 0, 0, 0} }
func (d *vsockDevice) Enable(int, bool) {}

func (d *vsockDevice) End(err error) {
	if err != nil {
		d.t.Error(err)
	}
	d.Down()
}

func (d *vsockDevice) Start(i int, q *virtqueue.Queue, _ uint64, interrupt func()) {
	d.mu.Lock()
	d.queues[i], d.interrupt[i] = q, interrupt
	d.mu.Unlock()
	d.Notify(i)
}

func (d *vsockDevice) Stop(i int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queues[i] = nil
}

func (d *vsockDevice) Notify(int) {
	select {
	case d.kicks <- true:
	default:
	}
}

func (d *vsockDevice) CID() uint32  { return vsockHost }
func (d *vsockDevice) MaxData() int { return 3000 }

func (d *vsockDevice) Send(h *vsock.Header, fill func(p []byte)) bool {
	p := make([]byte, vsock.HeaderSize+int(h.Len))
	h.Put(p)
	if h.Len > 0 {
		fill(p[vsock.HeaderSize:])
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.late = append(d.late, p)
	d.deliver()
	return true
}

// deliver moves waiting packets to the guest while it has buffers.
func (d *vsockDevice) deliver() {
	q := d.queues[0]
	var c virtqueue.Chain
	for q != nil && len(d.late) > 0 {
		if ok, err := q.Pop(&c); !ok || err != nil {
			if err == nil && q.EnableNotify() {
				continue
			}
			break
		}
		p := d.late[0]
		d.late = d.late[1:]
		n := 0
		for _, b := range c.In {
			n += copy(b, p[n:])
		}
		q.Push(&c, n)
	}
	if q != nil && q.Flush() {
		d.interrupt[0]()
	}
}

// work handles the packets that the guest has sent.
func (d *vsockDevice) work() {
	for {
		d.mu.Lock()
		d.deliver()
		p := d.take()
		d.mu.Unlock()
		if p == nil {
			return
		}
		h := vsock.ParseHeader(p)
		d.Receive(&h, p[vsock.HeaderSize:][:h.Len])
	}
}

func (d *vsockDevice) take() []byte {
	q := d.queues[1]
	if q == nil {
		return nil
	}
	var c virtqueue.Chain
	for {
		ok, err := q.Pop(&c)
		if err != nil || !ok && !q.EnableNotify() {
			return nil
		}
		if ok {
			break
		}
	}
	p := bytes.Join(c.Out, nil)
	q.Push(&c, 0)
	if q.Flush() {
		d.interrupt[1]()
	}
	return p
}

// await repeats do until it returns something other than EAGAIN.
func await(t *testing.T, s socket.Socket, do func() lin.Errno) {
	t.Helper()
	var w platform.Waiter
	e := wait.Entry{Notify: func(wait.Events) { w.Wake() }}
	s.Watch().Register(&e, wait.In|wait.Out|wait.RdHup)
	defer s.Watch().Unregister(&e)
	timer := time.AfterFunc(time.Minute, func() { panic("nothing happens on a vsock connection") })
	defer timer.Stop()
	for {
		errno := do()
		if errno == 0 {
			return
		}
		if errno != lin.EAGAIN {
			t.Error(errno.Name())
			return
		}
		w.Wait()
	}
}

func vsockAddr(cid, port uint32) []byte {
	sa := make([]byte, lin.SockaddrVMSize)
	socket.Put(sa, lin.SockaddrVM{Family: lin.AF_VSOCK, Port: port, CID: cid})
	return sa
}

// vsockPair returns both ends of a connection from one network to the other.
func vsockPair(t *testing.T, from, to *vsock.Network, cid uint32) (client, server socket.Socket) {
	t.Helper()
	l, _ := to.New(lin.SOCK_STREAM, 0)
	defer l.Release()
	l.Bind(vsockAddr(lin.VMADDR_CID_ANY, 77))
	l.Listen(1)
	client, _ = from.New(lin.SOCK_STREAM, 0)
	if errno := client.Connect(vsockAddr(cid, 77)); errno != lin.EINPROGRESS {
		t.Fatal(errno.Name())
	}
	await(t, l, func() (errno lin.Errno) { server, errno = l.Accept(); return errno })
	return client, server
}

// echo sends data from client to server and back.
func echo(t *testing.T, client, server socket.Socket, data []byte) {
	var done sync.WaitGroup
	done.Go(func() { vsockSend(t, client, data) })
	done.Go(func() { vsockSend(t, server, vsockReceive(t, server)) })
	if got := vsockReceive(t, client); !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes came back, or they differ", len(got), len(data))
	}
	done.Wait()
}

func vsockSend(t *testing.T, s socket.Socket, p []byte) {
	for len(p) > 0 {
		await(t, s, func() lin.Errno {
			n, errno := s.Write(p)
			p = p[n:]
			if errno == lin.ENOTCONN { // not yet
				errno = lin.EAGAIN
			}
			return errno
		})
	}
	s.Shutdown(lin.SHUT_WR)
}

func vsockReceive(t *testing.T, s socket.Socket) (all []byte) {
	p := make([]byte, 50_000)
	for {
		n := 0
		await(t, s, func() (errno lin.Errno) {
			if n, errno = s.Read(p); errno == lin.ENOTCONN {
				errno = lin.EAGAIN
			}
			return errno
		})
		if n == 0 {
			return all
		}
		all = append(all, p[:n]...)
	}
}

// The test runs the library OS's socket driver against QEMU's device, and QEMU's
// device against vsockDevice.
func TestVsockDriverOnQEMU(t *testing.T) {
	d := newVsockDevice(t)
	server, err := vhostuser.Listen(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	m := qemutest.Start(t,
		"-chardev", fmt.Sprintf("socket,id=vsock,path=/proc/%d/fd/%d", os.Getpid(), server.File().Fd()),
		"-device", "vhost-user-vsock-device,chardev=vsock")
	guest, errno := virtiovsock.Open(m.Device(virtio.IDSocket))
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if guest.CID() != vsockGuest {
		t.Errorf("the guest's CID is %d", guest.CID())
	}
	data := bytes.Repeat([]byte("0123456789abcdefg"), 100_000)
	c, s := vsockPair(t, guest.Network, d.Network, vsockHost)
	echo(t, c, s, data)
	c, s = vsockPair(t, d.Network, guest.Network, vsockGuest)
	echo(t, c, s, data)
}
