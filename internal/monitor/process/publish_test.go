package process

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pith-os/pith/internal/instance"
	"github.com/pith-os/pith/internal/link"
	"github.com/pith-os/pith/internal/monitor/tinyelf"
	"github.com/pith-os/pith/libos/boot"

	"golang.org/x/sys/unix"
)

// greeter returns an image that repeats these steps until its input ends: it reads a byte,
// listens, greets one client and stops listening.
func greeter(t *testing.T) *os.File {
	const (
		hello   = "hello"
		conn    = boot.FDListen + 1 // the lowest free number after one listener
		control = tinyelf.Imm(boot.FDControl)
	)
	var p tinyelf.Program
	on, off := boot.Listen{Port: 80, On: true}.String(), boot.Listen{Port: 80}.String()
	onMsg, offMsg, greeting, buf := p.CString(on), p.CString(off), p.CString(hello), p.Data(make([]byte, 8))
	p.Forever(func() {
		p.Syscall(unix.SYS_READ, tinyelf.Imm(0), buf, tinyelf.Imm(1))
		p.IfZero(func() { p.Exit(0) })
		p.Syscall(unix.SYS_WRITE, control, onMsg, tinyelf.Imm(uint64(len(on))))
		p.Until(func() {
			p.Syscall(unix.SYS_SCHED_YIELD)
			p.Syscall(unix.SYS_ACCEPT4, tinyelf.Imm(boot.FDListen), tinyelf.Imm(0), tinyelf.Imm(0),
				tinyelf.Imm(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC))
			p.Raw(0x48, 0x83, 0xe8, conn) // SUB RAX, conn
		})
		p.Syscall(unix.SYS_WRITE, tinyelf.Imm(conn), greeting, tinyelf.Imm(uint64(len(hello))))
		p.Syscall(unix.SYS_SHUTDOWN, tinyelf.Imm(conn), tinyelf.Imm(unix.SHUT_WR))
		p.Syscall(unix.SYS_CLOSE, tinyelf.Imm(conn))
		p.Syscall(unix.SYS_WRITE, control, offMsg, tinyelf.Imm(uint64(len(off))))
	})
	return imageFile(t, &p)
}

// idle is a network without packets.
var idle = networkFunc(func(ctx context.Context, _ link.Link) error {
	<-ctx.Done()
	return nil
})

// freePort returns a free port of this host.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// serve runs an image with a published port 80. The returned writer is its input. The image
// ends when the test closes the writer or ends.
func serve(t *testing.T, image *os.File, host netip.AddrPort) (in io.WriteCloser, result chan error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result = make(chan error, 1)
	go func() {
		defer r.Close()
		socket, err := instance.Bind(host)
		if err != nil {
			result <- err
			return
		}
		defer unix.Close(socket)
		_, err = instance.Run(ctx, fill(&instance.Spec{
			Image: image, Stdin: r, Network: idle, Ports: []instance.Port{{Number: 80, Socket: socket}},
		}))
		result <- err
	}()
	t.Cleanup(func() {
		w.Close()
		cancel()
	})
	return w, result
}

// dialUntil dials until the host accepts the connection or, if refused is set, refuses it.
func dialUntil(t *testing.T, addr netip.AddrPort, refused bool) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", addr.String())
		if refused && errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		if err == nil && !refused {
			return conn
		}
		if err == nil {
			conn.Close()
		} else if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ECONNRESET) {
			t.Fatal(err)
		}
	}
	t.Fatalf("no change after 5 seconds: want refused connections: %v", refused)
	return nil
}

func TestClientsAreRefusedUnlessTheProgramListens(t *testing.T) {
	addr := freePort(t)
	in, result := serve(t, greeter(t), addr)
	for range 3 {
		dialUntil(t, addr, true)
		if _, err := in.Write([]byte{'x'}); err != nil {
			t.Fatal(err)
		}
		conn := dialUntil(t, addr, false)
		got, err := io.ReadAll(conn)
		conn.Close()
		if string(got) != "hello" || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	dialUntil(t, addr, true)
	in.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}

	// The image closed its connections first, so they are in TIME_WAIT.
	in, result = serve(t, greeter(t), addr)
	if _, err := in.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	dialUntil(t, addr, false).Close()
	in.Close()
	if err := <-result; err != nil {
		t.Errorf("the second instance at the port: %v", err)
	}
}
