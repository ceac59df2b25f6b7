package vsock

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/internal/virtqueue"
	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/platform"
	"github.com/pith-os/pith/libos/socket"
	driver "github.com/pith-os/pith/libos/virtio/vsock"
	"github.com/pith-os/pith/libos/wait"
)

const guestCID = 5

// folder makes a directory with a short path, because the path of a socket has
// a length limit.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vsock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// host returns a broker that serves until t ends.
func host(t testing.TB) *Broker {
	t.Helper()
	b, err := Listen(filepath.Join(folder(t), "guest"))
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- b.Serve() }()
	t.Cleanup(func() {
		if err := errors.Join(b.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return b
}

func newDevice(t testing.TB, mem *virtqueue.Memory, b *Broker) *Device {
	t.Helper()
	d, err := New(mem, guestCID, b.Listener, b.Device)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// pair returns libos' driver on a device, and the broker of the device.
func pair(t *testing.T) (*driver.Device, *Broker) {
	t.Helper()
	b := host(t)
	d := newDevice(t, devicetest.Memory(t, 4<<20), b)
	x := devicetest.Attach(t, d)
	guest, errno := driver.Open(x)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(func() {
		if err := x.Err(); err != nil {
			t.Error(err)
		}
	})
	return guest, b
}

// stream gives a socket of the guest the methods of a net.Conn.
type stream struct {
	t *testing.T
	s socket.Socket
}

var errReset = errors.New("the guest's socket failed")

// block calls do, each time the socket is ready, until it returns something
// other than EAGAIN.
func block(t *testing.T, s socket.Socket, do func() linux.Errno) linux.Errno {
	var w platform.Waiter
	e := wait.Entry{Notify: func(wait.Events) { w.Wake() }}
	s.Watch().Register(&e, wait.In|wait.Out|wait.RdHup)
	defer s.Watch().Unregister(&e)
	timer := time.AfterFunc(20*time.Second, func() { panic("the socket did not become ready within 20 s") })
	defer timer.Stop()
	for {
		if errno := do(); errno != linux.EAGAIN {
			return errno
		}
		w.Wait()
	}
}

func (s stream) Read(p []byte) (n int, err error) {
	errno := block(s.t, s.s, func() (errno linux.Errno) { n, errno = s.s.Read(p); return errno })
	switch {
	case errno != 0:
		return 0, fmt.Errorf("%w: %s", errReset, errno.Name())
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s stream) Write(p []byte) (done int, err error) {
	for done < len(p) {
		errno := block(s.t, s.s, func() linux.Errno {
			n, errno := s.s.Write(p[done:])
			done += n
			return errno
		})
		if errno != 0 {
			return done, fmt.Errorf("%w: %s", errReset, errno.Name())
		}
	}
	return done, nil
}

func (s stream) CloseWrite() error {
	if errno := s.s.Shutdown(linux.SHUT_WR); errno != 0 {
		return fmt.Errorf("%w: %s", errReset, errno.Name())
	}
	return nil
}

func (s stream) Close() error { s.s.Release(); return nil }

func address(cid, port uint32) []byte {
	sa := make([]byte, linux.SockaddrVMSize)
	socket.Put(sa, linux.SockaddrVM{Family: linux.AF_VSOCK, Port: port, CID: cid})
	return sa
}

// listen returns a socket of the guest that listens at port.
func listen(t *testing.T, guest *driver.Device, port uint32) socket.Socket {
	t.Helper()
	l, _ := guest.New(linux.SOCK_STREAM, 0)
	if errno := l.Bind(address(linux.VMADDR_CID_ANY, port)); errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := l.Listen(64); errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(l.Release)
	return l
}

func accept(t *testing.T, l socket.Socket) stream {
	t.Helper()
	var s socket.Socket
	if errno := block(t, l, func() (errno linux.Errno) { s, errno = l.Accept(); return errno }); errno != 0 {
		t.Fatal(errno.Name())
	}
	return stream{t, s}
}

// connect connects a socket of the guest to port of the host.
func connect(t *testing.T, guest *driver.Device, port uint32) (stream, linux.Errno) {
	t.Helper()
	s, _ := guest.New(linux.SOCK_STREAM, 0)
	if errno := s.Connect(address(linux.VMADDR_CID_HOST, port)); errno != linux.EINPROGRESS {
		t.Fatal(errno.Name())
	}
	errno := block(t, s, func() linux.Errno {
		if s.Ready()&(wait.Out|wait.Err) == 0 {
			return linux.EAGAIN
		}
		return 0
	})
	var outcome [4]byte
	if errno == 0 {
		_, errno = s.Option(linux.SOL_SOCKET, linux.SO_ERROR, outcome[:])
	}
	if errno == 0 {
		errno = linux.Errno(outcome[0])
	}
	return stream{t, s}, errno
}

// dialHost connects to the guest's port through the broker's socket.
func dialHost(t *testing.T, b *Broker, port uint32) *net.UnixConn {
	t.Helper()
	c := dialLine(t, b, fmt.Sprintf("CONNECT %d\n", port))
	line, err := readLine(c)
	if err != nil || !strings.HasPrefix(line, "OK ") {
		t.Fatalf("%q, %v", line, err)
	}
	return c
}

func dialLine(t *testing.T, b *Broker, line string) *net.UnixConn {
	t.Helper()
	c := dialBroker(t, b)
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends the line on a new connection and returns the answer. The broker can close the
// connection before it has read the line. That is an error of the write.
func ask(t *testing.T, b *Broker, line string) (string, error) {
	t.Helper()
	c := dialBroker(t, b)
	if _, err := io.WriteString(c, line); err != nil {
		return "", err
	}
	return readLine(c)
}

// dialBroker connects to the broker's socket. The connection is closed at the test's end.
func dialBroker(t *testing.T, b *Broker) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", b.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// readLine reads a line, and no byte behind it.
func readLine(c net.Conn) (string, error) {
	var line []byte
	var b [1]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return string(line), err
		}
		if b[0] == '\n' {
			return string(line), nil
		}
		line = append(line, b[0])
	}
}

// service listens at port of the host.
func service(t *testing.T, b *Broker, port uint32) *net.UnixListener {
	t.Helper()
	l, err := net.Listen("unix", fmt.Sprintf("%s_%d", b.path, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.UnixListener)
}

type end interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// ends are the two ends of a connection.
type ends struct{ guest, host end }

// both makes two connections, one from each side.
func both(t *testing.T, guest *driver.Device, b *Broker) map[string]ends {
	t.Helper()
	l := listen(t, guest, 77)
	fromHost := ends{host: dialHost(t, b, 77)}
	fromHost.guest = accept(t, l)
	s := service(t, b, 99)
	c, errno := connect(t, guest, 99)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	h, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return map[string]ends{"from the host": fromHost, "from the guest": {c, h.(*net.UnixConn)}}
}
