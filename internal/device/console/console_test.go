package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pith-os/pith/internal/device/devicetest"
	"github.com/pith-os/pith/libos/linux"
	driver "github.com/pith-os/pith/libos/virtio/console"

	"golang.org/x/sys/unix"
)

// pipe returns a pipe whose ends are blocking, like a pipe of a shell.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{r, w} {
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
	}
	return r, w
}

// guest attaches libos' driver to a console with ports.
func guest(t *testing.T, ports ...Port) (*Device, *driver.Console, *devicetest.Transport) {
	t.Helper()
	d := New(devicetest.Memory(t, 4<<20), ports...)
	c, x := boot(t, d)
	return d, c, x
}

func boot(t *testing.T, d *Device) (*driver.Console, *devicetest.Transport) {
	t.Helper()
	x := devicetest.Attach(t, d)
	c, errno := driver.Open(x)
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	if errno := c.Start(10e9); errno != 0 {
		t.Fatal(errno.Name())
	}
	t.Cleanup(func() {
		if err := x.Err(); err != nil {
			t.Error(err)
		}
	})
	return c, x
}

// all reads a port until its end.
func all(p *driver.Port) (string, linux.Errno) {
	var text []byte
	buf := make([]byte, 10000)
	for {
		n, errno := p.Read(buf)
		text = append(text, buf[:n]...)
		if n == 0 || errno != 0 {
			return string(text), errno
		}
	}
}

func TestPortsTransferData(t *testing.T) {
	in, typist := pipe(t)
	out, stdout := pipe(t)
	_, c, _ := guest(t, Port{Name: "in", Input: in}, Port{Name: "out", Output: stdout}, Port{Name: "nowhere", Input: in})
	if c.Terminal() != nil || c.Port("other") != nil {
		t.Error("Terminal or Port returned a port that does not exist")
	}
	text := strings.Repeat("some text ", 20000)
	go func() {
		io.WriteString(typist, text)
		typist.Close()
	}()
	if got, errno := all(c.Port("in")); errno != 0 || got != text {
		t.Errorf("read %d bytes, %s; want %d", len(got), errno.Name(), len(text))
	}
	go func() {
		if n, errno := c.Port("out").Write([]byte(text)); n != len(text) || errno != 0 {
			t.Errorf("wrote %d bytes, %s", n, errno.Name())
		}
		stdout.Close()
	}()
	if got, err := io.ReadAll(out); err != nil || string(got) != text {
		t.Errorf("%d bytes arrived, %v; want %d", len(got), err, len(text))
	}
	if n, errno := c.Port("nowhere").Write([]byte(text)); n != len(text) || errno != 0 {
		t.Errorf("nowhere: wrote %d bytes, %s", n, errno.Name())
	}
}

func TestPortEnds(t *testing.T) {
	for _, test := range []struct {
		name        string
		port        func(t *testing.T) Port
		read, write linux.Errno
	}{
		{"no file", func(*testing.T) Port { return Port{} }, 0, linux.EPIPE},
		{"input that ends", func(t *testing.T) Port {
			r, w := pipe(t)
			w.Close()
			return Port{Input: r}
		}, 0, linux.EPIPE},
		{"input that cannot be read", func(t *testing.T) Port {
			folder, err := os.Open("/")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { folder.Close() })
			return Port{Input: folder}
		}, linux.EIO, linux.EIO},
		{"output without a reader", func(t *testing.T) Port {
			r, w := pipe(t)
			r.Close()
			return Port{Output: w}
		}, 0, linux.EPIPE},
		{"output to a full disk", func(t *testing.T) Port {
			f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			if err != nil {
				t.Skip(err)
			}
			t.Cleanup(func() { f.Close() })
			return Port{Output: f}
		}, linux.EIO, linux.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := test.port(t)
			port.Name = "port"
			d, c, _ := guest(t, port)
			p := c.Port("port")
			write := func() {
				t.Helper()
				if n, errno := p.Write([]byte("text")); n != 0 || errno != test.write {
					t.Errorf("write: %d, %s; want %s", n, errno.Name(), test.write.Name())
				}
			}
			if port.Input == nil && port.Output != nil {
				write() // closes or removes the port
			}
			if n, errno := p.Read(make([]byte, 8)); n != 0 || errno != test.read {
				t.Errorf("read: %d, %s; want %s", n, errno.Name(), test.read.Name())
			}
			write()
			write()
			d.Drain()
		})
	}
}

func TestInputIsReadOnlyOnDemand(t *testing.T) {
	in, typist := pipe(t)
	io.WriteString(typist, "0123456789")
	d, c, x := guest(t, Port{Name: "in", Input: in})
	unread := func() int {
		n, err := unix.IoctlGetInt(int(in.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := unread(); n != 10 {
		t.Fatalf("%d unread bytes before the guest reads; want 10", n)
	}
	p := c.Port("in")
	if n, errno := p.Read(make([]byte, 4)); n != 4 || errno != 0 {
		t.Fatal(n, errno.Name())
	}
	io.WriteString(typist, "rest")
	if n := unread(); n != 4 {
		t.Errorf("%d unread bytes; want the 4 that the guest did not ask for", n)
	}
	go p.Read(make([]byte, 100)) // reads what is available
	go p.Read(make([]byte, 100)) // blocks
	devicetest.Eventually(t, "a read", func() bool { return unread() == 0 })
	x.Shutdown()
	io.WriteString(typist, "after")
	if n := unread(); n != 5 {
		t.Errorf("%d unread bytes after the device stopped; want 5", n)
	}
	d.Drain() // returns at once: the device is stopped
}

func TestSlowPortDoesNotBlockOthers(t *testing.T) {
	unread, slow := pipe(t)
	r, fast := pipe(t)
	_, c, _ := guest(t, Port{Name: "slow", Output: slow}, Port{Name: "fast", Output: fast})
	var done atomic.Bool
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		c.Port("slow").Write(make([]byte, 1<<20))
		done.Store(true)
	}()
	for range 100 {
		if n, errno := c.Port("fast").Write([]byte("line")); n != 4 || errno != 0 {
			t.Fatal(n, errno.Name())
		}
		if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	if done.Load() {
		t.Error("a pipe without a reader took 1 MiB")
	}
	go io.Copy(io.Discard, unread)
	<-finished
}

func TestWindowSize(t *testing.T) {
	_, w := pipe(t)
	d := New(devicetest.Memory(t, 4<<20), Port{Name: "in"}, Port{Name: "out", Output: w, Window: true})
	d.Resize(80, 25)
	c, _ := boot(t, d)
	p := c.Port("out")
	size := func(cols, rows uint16) func() bool {
		return func() bool {
			x, y := c.Size(p)
			return x == cols && y == rows
		}
	}
	if !size(80, 25)() {
		t.Error("the guest does not have the size at the start")
	}
	d.Resize(100, 40)
	devicetest.Eventually(t, "another size", size(100, 40))
	if cols, rows := c.Size(c.Port("in")); cols != 0 || rows != 0 {
		t.Error("a port without a window has a size")
	}
}

func TestPortsAfterAReset(t *testing.T) {
	in, typist := pipe(t)
	r, w := pipe(t)
	closed, other := pipe(t)
	closed.Close()
	d := New(devicetest.Memory(t, 16<<20), Port{Name: "in", Input: in}, Port{Name: "out", Output: w}, Port{Name: "broken", Output: other})
	for range 3 {
		c, x := boot(t, d)
		if _, errno := c.Port("broken").Write([]byte("x")); errno != linux.EPIPE {
			t.Errorf("a broken port: %s", errno.Name())
		}
		io.WriteString(typist, "typed")
		if n, errno := c.Port("in").Read(make([]byte, 10)); n != 5 || errno != 0 {
			t.Errorf("read %d bytes, %s", n, errno.Name())
		}
		if n, errno := c.Port("out").Write([]byte("text")); n != 4 || errno != 0 {
			t.Errorf("wrote %d bytes, %s", n, errno.Name())
		}
		if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
			t.Error(err)
		}
		x.Shutdown()
	}
}

func TestTerminalHangupEndsTheInput(t *testing.T) {
	master, slave := terminal(t)
	_, c, _ := guest(t, Port{Name: "in", Input: slave})
	p := c.Port("in")
	io.WriteString(master, "line\n")
	if n, errno := p.Read(make([]byte, 10)); n != 5 || errno != 0 {
		t.Fatal(n, errno.Name())
	}
	master.Close()
	if n, errno := p.Read(make([]byte, 10)); n != 0 || errno != 0 && errno != linux.EIO {
		t.Errorf("read %d, %s", n, errno.Name())
	}
}

func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}
