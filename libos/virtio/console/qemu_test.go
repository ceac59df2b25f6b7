package console

import (
	"bytes"
	"io"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/pith-os/pith/libos/linux"
	"github.com/pith-os/pith/libos/virtio"
	"github.com/pith-os/pith/libos/virtio/qemutest"
)

// TestQEMUsPorts runs the driver with QEMU's device, whose ports are sockets.
func TestQEMUsPorts(t *testing.T) {
	args := []string{"-device", "virtio-serial-device,max_ports=5"}
	listeners := map[string]net.Listener{}
	for _, name := range []string{"in", "out", "err"} {
		path := t.TempDir() + "/" + name
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		listeners[name] = l
		args = append(args, "-chardev", "socket,id="+name+",path="+path, "-device", "virtserialport,chardev="+name+",name="+name)
	}
	m := qemutest.Start(t, args...)
	ends := map[string]net.Conn{}
	for name, l := range listeners {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ends[name] = c
	}
	c, errno := Open(m.Device(virtio.IDConsole))
	if errno != 0 {
		t.Fatal(errno.Name())
	}
	defer c.dev.Shutdown()
	if errno := c.Start(10e9); errno != 0 {
		t.Fatal(errno.Name())
	}
	in, out, errs := c.Port("in"), c.Port("out"), c.Port("err")
	if in == nil || out == nil || errs == nil || c.Port("other") != nil || c.Terminal() != nil {
		t.Fatal("the driver does not find exactly the ports in, out and err")
	}

	text := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	received := make(chan []byte)
	for _, name := range []string{"out", "err"} {
		go func() {
			p := make([]byte, len(text))
			n, _ := io.ReadFull(ends[name], p)
			received <- p[:n]
		}()
	}
	for _, p := range []*Port{out, errs} {
		go func() {
			if n, errno := p.Write(text); n != len(text) || errno != 0 {
				t.Errorf("write: %d, %s", n, errno.Name())
			}
		}()
	}
	for range 2 {
		if got := <-received; !bytes.Equal(got, text) {
			t.Errorf("the host received %d of %d bytes, or the data differ", len(got), len(text))
		}
	}

	go func() {
		ends["in"].Write(text)
		// QEMU discards unread input when a socket is fully closed.
		ends["in"].(*net.UnixConn).CloseWrite()
	}()
	got, err := io.ReadAll(reader{in})
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("read %d of %d bytes, or the data differ: %v", len(got), len(text), err)
	}
	if _, errno := in.Write([]byte("x")); errno != linux.EPIPE {
		t.Errorf("write to a port that the host has closed: %s, want EPIPE", errno.Name())
	}
}

// TestQEMUsConsole uses port 0, as when a device is configured by hand.
func TestQEMUsConsole(t *testing.T) {
	for _, max := range []int{1, 31} {
		path := t.TempDir() + "/console"
		m := qemutest.Start(t, "-device", "virtio-serial-device,max_ports="+strconv.Itoa(max),
			"-chardev", "file,id=c,path="+path, "-device", "virtconsole,chardev=c")
		c, errno := Open(m.Device(virtio.IDConsole))
		if errno != 0 {
			t.Fatal(errno.Name())
		}
		if errno := c.Start(10e9); errno != 0 {
			t.Fatal(errno.Name())
		}
		if n, errno := c.Terminal().Write([]byte("hello")); n != 5 || errno != 0 {
			t.Errorf("write: %d, %s", n, errno.Name())
		}
		// The host has the data when Write returns.
		if got, err := os.ReadFile(path); err != nil || string(got) != "hello" {
			t.Errorf("the host has %q, want hello: %v", got, err)
		}
		c.dev.Shutdown()
	}
}
